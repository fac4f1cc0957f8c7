"""Evaluation: samples, what they are worth, and the page that shows it."""

from difjax.evaluation.samples import SampleGrid, generate
from difjax.evaluation.study import Study
from difjax.evaluation.trained import Trained, load

__all__ = ['SampleGrid', 'Study', 'Trained', 'generate', 'load']
