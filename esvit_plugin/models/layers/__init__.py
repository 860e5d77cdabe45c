"""What backbones share: attention with biases and windows, residual branches."""
