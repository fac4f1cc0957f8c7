"""The objective that is solved by hand, for runs that need no network."""

from ml_collections import config_dict

from tests import tiny_config


def get_config() -> config_dict.ConfigDict:
  """Returns `tests.tiny.Mean` on the digits."""
  config = tiny_config.get_config()
  config.objective = config_dict.ConfigDict(dict(type='tests.tiny.Mean'))
  return config
