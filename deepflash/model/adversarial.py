"""What networks minimise that learn against a discriminator: three systems, as plain functions.

A discriminator gives logits: one for a picture, or one for each of its patches; positive is "real". It minimises
`discriminator_loss`. Who makes the pictures minimises `deception_loss`, weighed against what his answers should be:

- pix2pix (Isola et al. 2017) shows a patch discriminator the input beside the answer, see `beside`;
- DeepFlash as the generator of a GAN is the paper's own future work (section 7): "the discriminator is trained to recognize if
  a given image is a difference between the bilateral filtered version of a flash and no flash images". In encoding C answers
  and targets are such differences (equation 1), so the discriminator sees them as they are, with nothing beside them;
- the Dense U-Net (Que and Lee 2018) is judged by whole patches of its pictures.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from deepflash.model.losses import mean_removed_loss
from deepflash.model.metrics import ms_ssim

_MOST_SCALES = 4  # of MS-SSIM; 96 px, the patches of Que and Lee, have no more
_WINDOW_PX = 11  # that SSIM needs


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Return how badly the real is told from the made: the mean of both halves' cross-entropy, log 2 for a coin.

    Parameters
    ----------
    real, made
        Logits of any shape; the made pictures must be detached from their network.

    Returns
    -------
    Tensor
        Scalar.
    """
    return (_cross_entropy(real, is_real=True) + _cross_entropy(made, is_real=False)) / 2


def deception_loss(made: Tensor) -> Tensor:
    """Return how far made pictures are from being taken for real, a scalar; its slope is steepest where nobody is deceived.

    Goodfellow et al., Generative Adversarial Nets, 2014, section 3.
    """
    return _cross_entropy(made, is_real=True)


def beside(prepared: Tensor, answers: Tensor) -> Tensor:
    """Return what pix2pix's discriminator judges, (N, 6, H, W): the input with an answer or a target beside it."""
    return torch.cat([prepared, answers], dim=1)


def pix2pix_loss(made: Tensor, answers: Tensor, target: Tensor, *, l1_weight: float = 100.0) -> Tensor:
    """Return what pix2pix's generator minimises.

    Parameters
    ----------
    made
        The discriminator's logits of `beside(prepared, answers)`.
    answers, target
        (N, 3, H, W) in [0, 1].
    l1_weight
        Lambda of the paper's equation 4, of the mean absolute difference of pictures in [-1, 1].

    Returns
    -------
    Tensor
        Scalar.
    """
    return deception_loss(made) + l1_weight * 2 * (answers - target).abs().mean()


def deepflash_gan_loss(
    made: Tensor, decoded: Tensor, wanted: Tensor, *, mean_weight: float = 1.0, gan_weight: float = 1e-3
) -> Tensor:
    """Return what DeepFlash minimises as the generator of a GAN: its own loss, and the deception weighed.

    Parameters
    ----------
    made
        The discriminator's logits of the network's answers in encoding C, which are difference images.
    decoded, wanted
        y_d and t_d of equation 4, (N, 3, H, W).
    mean_weight
        See `mean_removed_loss`.
    gan_weight
        Of `deception_loss`. The paper does not have one; this is SRGAN's (Ledig et al. 2017, the paper's reference 9), whose
        mean squared error is of the same size.

    Returns
    -------
    Tensor
        Scalar.
    """
    return mean_removed_loss(decoded, wanted, mean_weight=mean_weight) + gan_weight * deception_loss(made)


def dense_unet_loss(
    made: Tensor,
    pictures: Tensor,
    truth: Tensor,
    perceptual: Callable[[Tensor, Tensor], Tensor],
    *,
    gan_weight: float = 5e-3,
    structure_weight: float = 1.0,
    pixel_weight: float = 0.0,
) -> Tensor:
    """Return equation 1 of Que and Lee, L_p + lambda L_GAN + eta (1 - MS-SSIM), and a term that it lacks.

    Parameters
    ----------
    made
        The discriminator's logits of `pictures`.
    pictures, truth
        (N, 3, H, W) in [0, 1].
    perceptual
        L_p, such as `VggFeatures.loss`.
    gan_weight, structure_weight
        Lambda, which is not given; this is ESRGAN's, whose L_p it takes. Eta, not given either.
    pixel_weight
        Of the mean absolute difference. 0 is the paper; but none of its terms sees a colour cast well, MS-SSIM least of all
        (reference: models.md 6).

    Returns
    -------
    Tensor
        Scalar.
    """
    loss = perceptual(pictures, truth) + gan_weight * deception_loss(made)
    loss = loss + structure_weight * (1 - patch_similarity(pictures, truth).mean())
    return loss + pixel_weight * (pictures - truth).abs().mean()


def patch_similarity(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return MS-SSIM, (N,), over as many scales as the patches allow, at most 4: that many from 88 px on, 3 from 44.

    Raises
    ------
    ValueError
        if a side is shorter than 11 px.
    """
    side = min(pictures.shape[-2:])
    if side < _WINDOW_PX:
        raise ValueError(f"MS-SSIM needs pictures of at least {_WINDOW_PX} px, not {tuple(pictures.shape)}")
    return ms_ssim(pictures, truth, scales=min(_MOST_SCALES, (side // _WINDOW_PX).bit_length()))


def _cross_entropy(logits: Tensor, *, is_real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(is_real)))
