"""Your own tar shards: a U-Net under EDM on what img2dataset wrote.

Paper      Karras et al. 2022 (objective), Song et al. 2021 (network)
Parameters 20,725,443
Cost       50 k steps of 64 images at 32 x 32; not run here
Data       KEY.jpg, .png or .webp in *.tar, with KEY.cls or a field of KEY.json;
           eight tars are shuffled together (window), and a damaged sample is
           replaced by the next, counted and named
Command    difjax data index TARS
           difjax train --config=configs/shards.py --workdir=DIR
             --config.data.source.path=TARS; and for classes
             --config.data.source.label=cls (or json.FIELD)
             --config.data.source.classes=K
             --config.objective.network.num_classes=K
"""

from ml_collections import config_dict

from configs import folder


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment: that of a folder, on tars."""
  config = folder.get_config()
  config.data.source = dict(
    type='data.Shards', path='data/shards', size=32, replace_damaged=True,
  )  # fmt: skip
  config.data.window = 8
  return config
