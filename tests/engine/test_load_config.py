"""What reading a config does beside reading it."""

from support.paths import ROOT

from esvit_plugin.engine.configs import drop_late_schedules, load_config


def test_a_run_shorter_than_its_warm_up_keeps_the_warm_up():
    cfg = load_config(
        str(ROOT / 'configs/esvit_swin_t.py'), {'train_cfg.max_epochs': 10}
    )
    drop_late_schedules(cfg)
    names = [schedule.type for schedule in cfg.param_scheduler]
    assert names == ['LinearLR', 'CosineAnnealingParamScheduler']


def test_data_root_replaces_the_folder_everywhere():
    cfg = load_config(
        str(ROOT / 'configs/esvit_swin_t.py'), dict(data_root='/data/in1k')
    )
    hook = next(h for h in cfg.custom_hooks if h.type == 'KNNMonitorHook')
    folders = [
        cfg.train_dataloader.dataset.data_root,
        hook.train_dataloader.dataset.data_root,
        hook.val_dataloader.dataset.data_root,
        cfg.data_root,
    ]
    assert folders == ['/data/in1k'] * 4
