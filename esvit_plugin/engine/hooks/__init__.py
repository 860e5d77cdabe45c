from .best_rate_hook import BestRateHook
from .checkpoint_hook import AtomicCheckpointHook
from .ema_teacher_hook import EMATeacherHook
from .finite_guard_hook import FiniteGuardHook
from .freeze_last_layer_hook import FreezeLastLayerHook
from .gradient_monitor_hook import GradientMonitorHook
from .knn_monitor_hook import KNNMonitorHook
from .last_and_best_hook import LastAndBestHook
from .lazy_runtime_info_hook import LazyRuntimeInfoHook
from .random_neighbor_hook import RandomNeighborHook
from .random_state_hook import RandomStateHook
from .recovery_hook import RecoveryHook
from .region_task_hook import RegionTaskHook
from .teacher_temp_hook import TeacherTempHook
from .training_monitor_hook import TrainingMonitorHook
from .visualization_hook import EsViTVisualizationHook

__all__ = [
    'AtomicCheckpointHook',
    'BestRateHook',
    'EMATeacherHook',
    'EsViTVisualizationHook',
    'FiniteGuardHook',
    'FreezeLastLayerHook',
    'GradientMonitorHook',
    'KNNMonitorHook',
    'LastAndBestHook',
    'LazyRuntimeInfoHook',
    'RandomNeighborHook',
    'RandomStateHook',
    'RecoveryHook',
    'RegionTaskHook',
    'TeacherTempHook',
    'TrainingMonitorHook',
]
