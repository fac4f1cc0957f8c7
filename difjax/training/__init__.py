"""Training: one loop, one compiled step, for every objective."""

from difjax.training.checkpoint import Checkpointer, Checkpoints
from difjax.training.ema import EMA, ConstantEMA, WarmedUpEMA
from difjax.training.hooks import Hook, IndexLog, Run
from difjax.training.loop import Trainer, train
from difjax.training.mesh import Mesh
from difjax.training.optimisers import Optimiser
from difjax.training.sharding import FSDP, Replicate, Rule, shardings
from difjax.training.state import TrainState
from difjax.training.step import init_state, make_step

__all__ = [
  'EMA',
  'FSDP',
  'Checkpointer',
  'Checkpoints',
  'ConstantEMA',
  'Hook',
  'IndexLog',
  'Mesh',
  'Optimiser',
  'Replicate',
  'Rule',
  'Run',
  'TrainState',
  'Trainer',
  'WarmedUpEMA',
  'init_state',
  'make_step',
  'shardings',
  'train',
]
