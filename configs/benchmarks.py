"""All benchmarks, which the README's table is made of.

  difjax bench --config=configs/benchmarks.py --readme=README.md

What stands beside difjax is measured where it is installed: pip install torch
torchvision diffusers pytorch-fid webdataset. `--rounds=1` is a quick look,
`--config.parts.KEY.FIELD` changes a part.
"""

from typing import Any

from ml_collections import config_dict

from configs import parts, quickstart
from configs import score_sde_parts as sde
from configs.peers import dit, unet

BFLOAT16 = dict(ref='jax.numpy.bfloat16')
ACCELERATORS = ('gpu', 'tpu')
Spec = dict[str, Any]


def get_config() -> config_dict.ConfigDict:
  """Returns the benchmarks, in the order in which they run."""
  digits = quickstart.get_config().to_dict()
  title = "the quickstart's DiT"
  run = _trainer(digits['objective'], digits['data'], ema=digits['ema'])
  whole = dict(
    startup=_part('StartUp', title=title, config='configs/quickstart.py'),
    loop=_part('LoopSpeed', title=title, trainer=run, steps=100),
    sampler=_part(
      'SamplerSpeed', title=title, trainer=run, sampler=digits['sampler']
    ),
    dit=_beside(dit, 'DiT-S/2', draws=3),
    unet=_beside(unet, "DDPM's U-Net", draws=3),
    features=_part('FeatureSpeed', peer=dict(type='evaluation.PytorchFidPeer')),
    digits=_part(
      'InputSpeed', title="the quickstart's digits", data=digits['data']
    ),
    shards=_part('ShardSpeed'),
    saving=_part('CheckpointSpeed', title=title, trainer=run),
    saving_large=_part(
      'CheckpointSpeed', title='DDPM++ on CIFAR-10', trainer=_ddpmpp(None)
    ),
    **_on_accelerators(),
  )
  config = config_dict.ConfigDict()
  config.rounds = 5
  config.minutes = 15  # that a part may take
  config.parts = dict(whole, order=tuple(whole))
  return config


def _on_accelerators() -> dict[str, Spec]:
  """Returns what CPUs are too slow for, or cannot do."""
  return dict(
    dit_xl2=_part(
      'StepSpeed', title='DiT-XL/2 in bfloat16', beside='in float32',
      backends=ACCELERATORS,  # 32 images: float32 takes twice the memory
      trainer=_dit_xl2(BFLOAT16, 32), rival=_dit_xl2(None, 32),
    ),
    dit_xl2_cudnn=_part(
      'StepSpeed', title='DiT-XL/2 in bfloat16, attention by cuDNN',
      beside="by difjax's default", backends=('gpu',),
      trainer=_dit_xl2(BFLOAT16, 64, implementation='cudnn'),
      rival=_dit_xl2(BFLOAT16, 64),
    ),
    ddpmpp=_part(
      'StepSpeed', title='DDPM++ in bfloat16', beside='in float32',
      trainer=_ddpmpp(BFLOAT16), rival=_ddpmpp(None), backends=ACCELERATORS,
    ),
    attention=_part(
      'AttentionSpeed', title='DiT-XL/2, batch 64', shape=(64, 256, 16, 72),
      implementation='cudnn',
    ),
  )  # fmt: skip


def _part(kind: str, **fields: Any) -> Spec:
  return dict(type=f'evaluation.{kind}', **fields)


def _beside(module: Any, title: str, **peer: Any) -> Spec:
  spec = module.get_config().to_dict()
  return _part('PeerSpeed', title=title, **{
    **spec, 'peer': {**spec['peer'], **peer}
  })  # fmt: skip


def _trainer(objective: Spec, data: Spec, **fields: Any) -> Spec:
  return dict(
    type='training.Trainer', objective=objective, data=data, steps=1_000_000,
    optimiser=parts.adam(parts.constant(1e-4)), tensorboard=False, **fields,
  )  # fmt: skip


def _random(batch_size: int, **fields: Any) -> Spec:
  """Returns data of no meaning, in the shape of a data set."""
  source = dict(type='data.Synthetic', height=32, width=32, **fields)
  return dict(type='data.Pipeline', source=source, batch_size=batch_size)


def _average() -> Spec:
  return dict(main=dict(type='training.ConstantEMA', rate=0.9999))


def _dit_xl2(dtype: Spec | None, batch_size: int, **fields: Any) -> Spec:
  network = parts.dit(
    'XL', patch=2, num_classes=1_000, out_channels=8, dtype=dtype, **fields
  )
  return _trainer(
    parts.learned_range(network),
    _random(batch_size, channels=4, classes=1_000), ema=_average(),
  )  # fmt: skip


def _ddpmpp(dtype: Spec | None) -> Spec:
  return _trainer(
    sde.vp(sde.ddpmpp(dtype=dtype))['objective'],
    _random(128, classes=0), ema=_average(),
  )  # fmt: skip
