"""The paper's k-NN evaluation (Section 4): for configs that inherit a pre-training."""

knn = dict(k=(10, 20, 100, 200), temperature=0.07)
