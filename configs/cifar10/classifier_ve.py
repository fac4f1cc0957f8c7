"""A classifier of noisy CIFAR-10 images, for class-conditional sampling.

The official sigmas, 0.01 to 50, are doubled: data are in [-1, 1]. Steps and
optimiser are ours: the official repository does not train it.

Paper      Song et al. 2021 (score SDE), appendix I: WideResNet-28-10 under the
           VE SDE
Published  none
Parameters 38,913,242
Cost       200 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/classifier_ve.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = dict(
    type='networks.WideResNet',
    mean=(-0.01720064, -0.03568318, -0.10693818),
    std=(0.49406446, 0.48697026, 0.52317568),
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = dict(
    type='objectives.Classifier', network=network,
    process=sde.ve_process(50.0),
    inputs=dict(type='denoising.InputMap', noise=sde.SIGMA),
  )  # fmt: skip
  config.data = sde.cifar10()
  config.steps = 200_000
  config.optimiser = sde.adam(2e-4)
  config.ema = dict(main=dict(type='training.ConstantEMA', rate=0.999))
  config.checkpoints = dict(
    type='training.Checkpoints', every=10_000, keep_every=50_000
  )
  return config
