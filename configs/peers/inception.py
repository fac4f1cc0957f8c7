"""FID's Inception-v3, timed beside pytorch-fid's.

Paper      Heusel et al. 2017 (FID); Szegedy et al. 2016
Published  none
Parameters 23,833,744
Cost       none: nothing is trained
Data       none: numbers drawn for the occasion
Command    difjax bench --config=configs/peers/inception.py
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns the peer, which knows both sides."""
  config = config_dict.ConfigDict()
  config.peer = dict(type='evaluation.PytorchFidPeer', batch_size=32, side=32)
  return config
