from .ema_teacher_hook import EMATeacherHook
from .freeze_last_layer_hook import FreezeLastLayerHook
from .knn_monitor_hook import KNNMonitorHook
from .lazy_runtime_info_hook import LazyRuntimeInfoHook
from .random_neighbor_hook import RandomNeighborHook
from .random_state_hook import RandomStateHook
from .region_task_hook import RegionTaskHook
from .teacher_temp_hook import TeacherTempHook
from .training_monitor_hook import TrainingMonitorHook
from .visualization_hook import EsViTVisualizationHook

__all__ = [
    'EMATeacherHook',
    'EsViTVisualizationHook',
    'FreezeLastLayerHook',
    'KNNMonitorHook',
    'LazyRuntimeInfoHook',
    'RandomNeighborHook',
    'RandomStateHook',
    'RegionTaskHook',
    'TeacherTempHook',
    'TrainingMonitorHook',
]
