"""ADM on ImageNet at 256 x 256, class-conditional.

Paper      Dhariwal & Nichol 2021 (ADM), ImageNet 256 x 256: ADM-G
Published  FID 4.59 at 250 evaluations, guided by adm_classifier_256.py at scale
           1.0
Parameters 553,838,086
Cost       1.98 M steps of 256 images; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet/adm_256.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm

NOTE = (
  'compiles for minutes, since its blocks are not scanned: a level has two or '
  'three, each gives or takes a skip, most differ in shape, and official '
  'checkpoints name every block'
)


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.adm(256)
  config = adm.experiment(
    adm.hybrid(network, adm.linear()), adm.imagenet(256), steps=1_980_000
  )
  config.plan = dict(
    type='evaluation.Slices', names=('v4-128',), image=(256, 256, 3),
    classes=1_000, note=NOTE,
  )  # fmt: skip
  config.published = dict(
    type='evaluation.Published', evaluations=250, quantiser='adm',
    figures=dict(fid=4.59), reference='ADM, ImageNet 256 x 256', guided=True,
    source='guided-diffusion, README: by its classifier at scale 1.0',
  )
  return config
