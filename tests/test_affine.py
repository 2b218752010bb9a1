"""Affine maps against OpenCV's, an independent implementation."""

import cv2
import numpy as np

from deepflash.affine import IDENTITY, apply, compose, inverse, scaling

A = np.array([[1.1, 0.2, 7.0], [-0.1, 0.9, -3.0]])
B = np.array([[0.8, -0.3, 2.0], [0.25, 1.2, 5.0]])
POINTS = np.array([[0.0, 0.0], [10.0, -3.0], [400.5, 77.25]])


def test_points_go_where_opencv_takes_them() -> None:
    np.testing.assert_allclose(apply(A, POINTS), cv2.transform(POINTS[None], A)[0], atol=1e-12)


def test_the_last_of_several_maps_acts_first() -> None:
    np.testing.assert_allclose(apply(compose(A, B, A), POINTS), apply(A, apply(B, apply(A, POINTS))), atol=1e-9)


def test_the_inverse_is_opencvs() -> None:
    np.testing.assert_allclose(inverse(A), cv2.invertAffineTransform(A), atol=1e-12)
    np.testing.assert_allclose(compose(inverse(A), A), IDENTITY, atol=1e-12)


def test_scaling_keeps_the_corner_of_the_picture() -> None:
    corner = np.array([[-0.5, -0.5]])  # of the top-left pixel, at any scale
    np.testing.assert_allclose(apply(scaling(0.25), corner), corner, atol=1e-12)
