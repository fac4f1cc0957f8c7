import numpy as np
import pytest

from difjax import errors, metrics


@pytest.fixture(scope='module')
def clouds():
  rng = np.random.default_rng(0)
  labels = np.arange(2_000) % 3
  centres = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
  return centres[labels] + 0.1 * rng.normal(size=(2_000, 4)), labels


def test_separated_classes_are_told_apart(clouds):
  x, labels = clouds
  fitted = metrics.fit_classifier(x[:1_700], labels[:1_700])
  assert (fitted.labels(x[1_700:]) == labels[1_700:]).mean() > 0.99
  assert fitted.features(x).shape == (2_000, 64)


def test_it_agrees_with_scikit_learn(clouds):
  from sklearn import neural_network

  x, labels = clouds
  peer = neural_network.MLPClassifier(
    (256, 64), alpha=0.1, max_iter=40, early_stopping=True, random_state=0
  ).fit(x, labels)
  fitted = metrics.fit_classifier(x, labels)
  np.testing.assert_array_equal(fitted.labels(x), peer.predict(x))


def test_features_follow_the_class_and_not_the_noise(clouds):
  x, labels = clouds
  h = metrics.fit_classifier(x, labels).features(x)
  means = np.stack([h[labels == k].mean(0) for k in range(3)])
  within = (h - means[labels]).std()
  assert np.std(means, axis=0).mean() > within


def test_malformed_features_are_refused():
  with pytest.raises(errors.DataError):
    metrics.fit_classifier(np.full((30, 2), np.nan), np.arange(30) % 3)
