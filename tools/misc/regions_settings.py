"""The settings of the regions experiment, as options of its config."""

VIEW_ALONE = ('model.region_neck=None', 'model.region_head=None')
VIEWS = 'train_dataloader.dataset.pipeline.0.views'
SHORT = 'train_cfg.max_epochs=3'
SMALL_BATCHES = 'train_dataloader.batch_size=8', 'optim_wrapper.optimizer.lr=5e-4'
WHOLE_SMALL_VIEWS = f'{VIEWS}.2.scale=(0.4,1.0)'
# The schedules of 24 epochs: rate, decay and momentum stay near their first values.
BEGINNING = (
    'train_cfg.max_epochs=8',
    'param_scheduler.1.end=24',
    'param_scheduler.2.end=24',
    'custom_hooks.0.end_momentum=0.997',
    *SMALL_BATCHES,
)
# What each setting changes of configs/demo/esvit_swin_regions.py, and how.
SETTINGS: dict[str, tuple[str, ...]] = {
    'as in the config': (),
    '3 epochs': (SHORT,),
    '3 epochs, windows of 2 x 2': (SHORT, 'model.backbone.window_size=2'),
    '3 epochs, windows of 2 x 2, all views nearly whole': (
        SHORT,
        'model.backbone.window_size=2',
        f'{VIEWS}.0.scale=(0.7,1.0)',
        f'{VIEWS}.1.scale=(0.7,1.0)',
        WHOLE_SMALL_VIEWS,
    ),
    '3 epochs, small views of 40 % and more': (SHORT, WHOLE_SMALL_VIEWS),
    '3 epochs, half of the views solarised': (
        SHORT,
        *(f'{VIEWS}.{group}.augment.solarize_prob=0.5' for group in range(3)),
    ),
    '3 epochs, teacher temperature 0.01': (SHORT, 'custom_hooks.1.teacher_temp=0.01'),
    '3 epochs, teacher temperature 0.01, rate 3e-3': (
        SHORT,
        'custom_hooks.1.teacher_temp=0.01',
        'optim_wrapper.optimizer.lr=3e-3',
    ),
    '3 epochs, batches of 8, rate 5e-4': (SHORT, *SMALL_BATCHES),
    'batches of 8, rate 5e-4': SMALL_BATCHES,
    '3 epochs, weight of the region task 0.9': (SHORT, 'model.region_weight=0.9'),
    '8 of 24 epochs, batches of 8, rate 5e-4': BEGINNING,
    '8 of 24 epochs, batches of 8, rate 5e-4, weight of the region task 0.25': (
        *BEGINNING,
        'model.region_weight=0.25',
    ),
}
