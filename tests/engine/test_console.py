"""The terminal has what a person reads, the log file everything."""

import logging

import torch
from mmengine.logging import MMLogger

import esvit_plugin
from esvit_plugin.engine.console import only_warnings, show_short_messages


def test_long_messages_go_to_the_file_alone(tmp_path, capsys):
    file = tmp_path / 'run.log'
    logger = MMLogger(f'console-{tmp_path.name}', log_file=str(file))
    show_short_messages(logger)
    logger.info('short\nmessage')
    logger.info('Config:\n' + 'line\n' * 20)
    logger.warning('a warning\n' + 'long\n' * 20)
    logger.warning('"FileClient" will be deprecated in future.')
    shown = ''.join(capsys.readouterr())
    assert 'short' in shown and 'a warning' in shown
    assert 'Config' not in shown and 'FileClient' not in shown
    text = file.read_text()
    assert 'Config' in text and 'FileClient' in text


def test_a_logger_without_a_file_shows_everything(capsys):
    logger = MMLogger('console-without-a-file', log_level='INFO')
    show_short_messages(logger)
    logger.info('Config:\n' + 'line\n' * 20)
    assert 'Config' in ''.join(capsys.readouterr())


def test_only_warnings_is_undone():
    logger = MMLogger.get_current_instance()
    before = [handler.level for handler in logger.handlers]
    with only_warnings():
        levels = [
            handler.level
            for handler in logger.handlers
            if not isinstance(handler, logging.FileHandler)
        ]
        assert min(levels) >= logging.WARNING
    assert [handler.level for handler in logger.handlers] == before


def test_get_model_says_nothing(capsys):
    backbone = dict(type='mmpretrain.ResNet', depth=18)
    model = esvit_plugin.get_model(
        dict(type='ImageClassifier', backbone=backbone, head=dict(type='ClsHead'))
    )
    assert isinstance(model.backbone.conv1, torch.nn.Conv2d)
    assert capsys.readouterr() == ('', '')
