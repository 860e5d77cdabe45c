"""Processes that do not reach each other on the CPU."""

import datetime

import pytest
import torch.distributed as dist

from esvit_plugin.engine.hooks import recovery_hook


def test_the_interface_is_named(monkeypatch):
    def fail(**options):
        raise RuntimeError('Gloo connectFullMesh failed: Connection refused')

    monkeypatch.setattr(dist, 'new_group', fail)
    monkeypatch.setattr(dist, 'get_rank', lambda: 9)
    words = r'process 9 on .*connectFullMesh.*set GLOO_SOCKET_IFNAME to the network'
    with pytest.raises(RuntimeError, match=words):
        recovery_hook._group_on_cpu(datetime.timedelta(seconds=1))
