"""Solvers against each other: the quickstart's model, with another report.

The report trains nothing. With --workdir=runs/quickstart it tries the solvers
on that model too; alone, on a mixture of Gaussians whose denoiser is known.

Paper      Karras et al. 2022, Lu et al. 2022, Zhao et al. 2023 (solvers)
Parameters 723,844
Cost       minutes on 2 CPU cores, most of them compilation
Data       scikit-learn's 8x8 digits, in its wheel
Command    difjax report --config=configs/solver_study.py --out=runs/solvers
"""

from ml_collections import config_dict

from configs import parts, quickstart


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  config = quickstart.get_config()
  config.report = parts.solver_study(
    held_out=dict(type='data.Digits', split='test')
  )
  return config
