"""Training: one loop, one compiled step, for every objective."""

from difjax.training.augmentation import Augmentation
from difjax.training.checkpoint import Checkpointer, Checkpoints
from difjax.training.ema import (
  EMA,
  ConstantEMA,
  HalfLifeEMA,
  PowerFunctionEMA,
  WarmedUpEMA,
)
from difjax.training.hooks import Hook, IndexLog, Run
from difjax.training.loop import train
from difjax.training.mesh import Mesh
from difjax.training.optimisers import (
  Optimiser,
  inverse_root_schedule,
  unit_weights,
)
from difjax.training.posthoc import Snapshots
from difjax.training.sharding import FSDP, Replicate, Rule, Tensor, shardings
from difjax.training.state import TrainState
from difjax.training.step import init_state, make_step
from difjax.training.tracing import Profile
from difjax.training.trainer import Trainer

__all__ = [
  'EMA',
  'FSDP',
  'Augmentation',
  'Checkpointer',
  'Checkpoints',
  'ConstantEMA',
  'HalfLifeEMA',
  'Hook',
  'IndexLog',
  'Mesh',
  'Optimiser',
  'PowerFunctionEMA',
  'Profile',
  'Replicate',
  'Rule',
  'Run',
  'Snapshots',
  'Tensor',
  'TrainState',
  'Trainer',
  'WarmedUpEMA',
  'init_state',
  'inverse_root_schedule',
  'make_step',
  'shardings',
  'train',
  'unit_weights',
]
