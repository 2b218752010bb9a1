"""Recipes: every hyper-parameter of a training run in one TOML file."""

import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from deepflash.errors import ModelError
from deepflash.model.encoders import ENCODERS
from deepflash.model.encodings import ENCODINGS
from deepflash.model.metrics import scales_for
from deepflash.model.network import STRIDE
from deepflash.model.pix2pix import MOST_DOWNS, downs_for


@dataclass(frozen=True)
class Recipe:
    """A training run's hyper-parameters. The defaults are the sensible ones; `paper.toml` holds the literal ones."""

    encoding: str = "C"
    """How the problem is put to the network: a letter of the paper's Figure 3."""
    network: Literal["deepflash", "light", "hdrnet", "unet", "dense-unet", "bokeh"] = "deepflash"
    """deepflash is the paper's; light our own, with 18 times less work, see `light`; the others are those of other papers: see
    `hdrnet`, `pix2pix`, `dense_unet`, `bokeh`."""
    width: float = 1.0
    """Multiplier of the channels of the network and its judge; 1 is its paper's, 29.4 million parameters for deepflash."""
    encoder: Literal["vgg16", "resnet18", "resnet34"] = "vgg16"
    """What looks at the picture in the network deepflash: vgg16 is the paper's; see `encoders`."""
    batch_norm: bool = True
    """Whether the decoder normalises by batch, as HDRCNN's does; the paper does not say. A ResNet encoder always does."""
    image_skip: bool = False
    """Whether the last layer looks at the input picture once more, as HDRCNN's does."""
    guide: Literal["pointwise", "curves"] = "pointwise"
    """How hdrnet tells a pixel's brightness: by a small network, as its authors' scripts do, or by their paper's curves."""
    downs: int = 0
    """How often unet halves the pictures' sides; 0 is as often as the size allows, at most 8 times."""
    size: int = 512
    """Side of the pictures the network is trained on, in pixels; a multiple of 32, not larger than the data set's."""
    decoder_std: float = 0.0
    """Standard deviation of the decoder's first weights; 0 is sqrt(2 / fan-in), 1 the paper's word."""
    decoder_kernels: Literal["smooth", "random"] = "smooth"
    """First kernels of the decoder's up-sampling: "smooth" leaves no checkerboard, "random" is the paper's."""
    encoder_weights: str = ""
    """File with weights to begin with: for deepflash's encoder, see `weights`; MegaDepth's for bokeh; none: random ones."""
    encoder_order: Literal["auto", "rgb", "bgr"] = "auto"
    """In which order the first layer of that file takes the colours; auto is what such files usually have."""
    start_from: str = ""
    """A run, or one of its weights files, whose weights training begins with: the whole network's, of the same kind."""
    head: Literal["zero", "xavier"] = "zero"
    """First weights of the last layer: "zero" begins with the photograph unchanged, "xavier" is the paper's; in hdrnet
    the latter means random ones, as its authors begin."""
    batch: int = 4
    """Pictures per step."""
    patch: int = 0
    """Side of a patch that is cut out of each picture in each step, anywhere, a multiple of 32; 0 is the whole picture."""
    chance: Literal["none", "jitter", "flips"] = "none"
    """What else changes from step to step: "jitter" is pix2pix's, a picture is enlarged by 12 %, cut to its size anywhere, and
    mirrored every other time; "flips" exchanges left and right, and top and bottom, each every other time."""
    other_cameras: bool = False
    """Whether white balance, exposure and contrast change from step to step, of the flash picture alone: so the network learns
    to look at them, and photographs from other people's cameras get the studio's colours."""
    epochs: int = 62
    """How often every training picture is seen."""
    max_steps: int = 0
    """The run ends after this many steps if the epochs have not ended it before; 0 is no limit."""
    learning_rate: float = 1e-5
    """Adam's step size after the warm-up."""
    beta1: float = 0.9
    """Adam's forgetting factor of the gradient."""
    beta2: float = 0.999
    """Adam's forgetting factor of the squared gradient."""
    epsilon: float = 1e-8
    """Adam's guard against division by zero."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    schedule: str = "constant"
    """What the learning rate does after the warm-up: "constant", or "cosine" down to 0 at the last step."""
    loss: Literal["squares", "l1", "charbonnier"] = "squares"
    """What is minimised, see `losses.picture_loss`; "squares" with mean_weight 0 is equation 5."""
    pixel_weight: float = 1.0
    """Weight of that; 0 leaves pixels to the terms below."""
    ssim_weight: float = 0.0
    """Weight of 1 - SSIM, which is added to the loss; 0 is the paper."""
    ms_ssim_weight: float = 0.0
    """Weight of 1 - MS-SSIM, which is added to the loss."""
    ms_ssim_scales: int = 0
    """Over how many scales MS-SSIM is taken in the loss; 0 is as many as the size allows, at most 5."""
    mean_weight: float = 1.0
    """Weight of the mean colour in the loss "squares": 0 is equation 5, blind to a colour cast; 1 the whole squared error."""
    vgg19_weights: str = ""
    """File with torchvision's VGG-19: the mean difference of its features is added to the loss, see `vgg_features`."""
    judge: Literal["none", "patch", "patch-beside", "picture"] = "none"
    """Who judges the answers while the network learns: nobody; pix2pix's judge of patches of 70 px, which sees the answer
    alone, or beside the input; or one for whole pictures, the Dense U-Net's. It learns with the same rates and betas."""
    gan_weight: float = 0.0
    """Weight of deceiving the judge, which is added to the loss."""
    ema: float = 0.0
    """Decay per step of the averaged weights that are kept as the result; 0 keeps the last weights."""
    weight_decay: float = 0.0
    """Share of the learning rate by which weights shrink in each step (AdamW's, apart from the gradient)."""
    clip: float = 0.0
    """Longest gradient that a step follows, as a norm over all weights; longer ones are shortened. 0 is no limit.
    The judge's are never shortened."""
    accumulate: int = 1
    """In how many parts a batch is worked on, for want of memory; batch normalisation sees the parts."""
    keep: int = 0
    """How many of the last validated weights are kept in `snapshots`, beside the last and the best."""
    compile: bool = False
    """Whether torch compiles the network first: about a minute, then faster steps; not the same bits."""
    precision: str = "float32"
    """Arithmetic of the network: "float32", or "bfloat16" (autocast), twice as fast where the processor has it."""
    seed: int = 0
    """Of the first weights and of the order of the pictures."""

    def __post_init__(self) -> None:
        for name, (holds, demand) in _DEMANDS.items():
            if not holds(getattr(self, name)):
                raise ModelError(f"the recipe's {name} is {getattr(self, name)!r}; it must be {demand}")
        self._check_network()
        self._check_sizes()
        self._check_game()

    def _check_network(self) -> None:
        odd = [name for name, whose in _OF_NETWORKS.items() if self.network not in whose and self._says(name)]
        if odd:
            raise ModelError(f"the {self.network} network has no {' and no '.join(odd)}; leave that out")
        if self.start_from and self.encoder_weights:
            raise ModelError("start_from brings an encoder, too; leave out encoder_weights")
        if self.network == "bokeh" and self.encoding != "A":
            raise ModelError(f"bokeh answers with pictures, those of encoding {self.encoding} are differences; use encoding A")

    def _check_sizes(self) -> None:
        if self.batch % self.accumulate:
            raise ModelError(f"a batch of {self.batch} cannot be worked on in {self.accumulate} equal parts; change accumulate")
        if self.patch > self.size:
            raise ModelError(f"no patch of {self.patch} px can be cut out of {self.size} px; lower patch or raise size")
        self.refuse_single_values()
        most = scales_for(self.seen_px)
        if self.ms_ssim_scales > most:
            wanted = "lower ms_ssim_scales or raise size"
            raise ModelError(f"pictures of {self.seen_px} px allow {most} scales of MS-SSIM; {wanted}")

    def _check_game(self) -> None:
        if (self.judge == "none") != (self.gan_weight == 0):
            raise ModelError(f"judge {self.judge} and gan_weight {self.gan_weight} do not go together; give both, or neither")
        if self.judge != "none" and self.accumulate > 1:
            raise ModelError("a judge sees whole batches; leave out accumulate and take a smaller batch")
        terms = (self.pixel_weight, self.ssim_weight, self.ms_ssim_weight, self.gan_weight, self.vgg19_weights)
        if not any(terms):
            raise ModelError("nothing is minimised: every weight is 0; raise pixel_weight or another")

    def refuse_single_values(self, processes: int = 1) -> None:
        """Raise `ModelError` if batch normalisation, innermost, would see one value alone when that many share a batch."""
        normalises = self.judge == "picture" or (self.network == "deepflash" and (self.batch_norm or self.encoder != "vgg16"))
        pictures = self.batch // (self.accumulate * processes)
        if normalises and pictures * (self.seen_px // STRIDE) ** 2 < 2:
            where = f" in each of {processes} processes" if processes > 1 else ""
            mend = f"raise {'patch' if self.patch else 'size'} or batch"
            raise ModelError(f"one picture of {self.seen_px} px at a time{where} leaves batch normalisation one value; {mend}")

    def _says(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(type(self), name))

    @property
    def seen_px(self) -> int:
        """Side of what the network sees in training."""
        return self.patch or self.size

    @property
    def unet_downs(self) -> int:
        """How often unet halves the sides of its pictures; 0 for other networks."""
        return (self.downs or downs_for(self.seen_px)) if self.network == "unet" else 0

    def learning_rate_at(self, step: int, last_step: int) -> float:
        """Return the learning rate of a step, counted from 0, of a run that ends with `last_step` steps done."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        if self.schedule == "constant":
            return self.learning_rate
        share = (step - self.warmup_steps) / max(1, last_step - self.warmup_steps)
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2

    def differences_of_network(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """Return in what the other's network is not of the same kind: this recipe's value and the other's, by name."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in _KIND_OF_NETWORK}
        pairs["downs"] = (self.unet_downs, other.unet_downs)
        return {name: values for name, values in pairs.items() if values[0] != values[1]}

    def trains_as(self, other: "Recipe") -> bool:
        """Say whether a run that was begun with the one may go on with the other."""
        return replace(self, **{name: getattr(other, name) for name in _MAY_CHANGE}) == other

    def as_toml(self) -> str:
        """Return the recipe as TOML, every field in it."""
        return "".join(f"{name} = {_toml_value(value)}\n" for name, value in asdict(self).items())


_OF_NETWORKS = {
    "encoder": ("deepflash",),
    "batch_norm": ("deepflash",),
    "image_skip": ("deepflash",),
    "decoder_std": ("deepflash",),
    "decoder_kernels": ("deepflash",),
    "encoder_weights": ("deepflash", "bokeh"),
    "encoder_order": ("deepflash",),
    "head": ("deepflash", "hdrnet"),
    "guide": ("hdrnet",),
    "downs": ("unet",),
}
"""What only some networks have."""

_KIND_OF_NETWORK = ("encoding", "network", "width", "encoder", "batch_norm", "image_skip", "guide")
"""What weights must have in common with a recipe that starts from them."""

_MAY_CHANGE = ("compile", "keep")
"""What changes neither the order of the pictures nor what is minimised, so that it may differ when a run goes on."""


def load_recipe(recipe: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe by the name of one that comes with the package, or from a TOML file.

    Parameters
    ----------
    recipe
        `quick`, `paper`, or the path of a TOML file. Fields that it does not name keep their defaults.
    changes
        `name=value` each: fields that are other than the recipe says.

    Raises
    ------
    ModelError
        if there is no such recipe, a key is unknown, or a value is out of range.
    """
    return recipe_from(*_text_of(recipe), changes)


def recipe_from(text: str, where: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe from its TOML; `where` stands in the error's sentence. Else as `load_recipe`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{where} is not TOML ({error}); correct that line") from error
    for change in changes:
        name, _, value = change.partition("=")
        values[name.strip()] = _value_of(value.strip())
    types = {field.name: field.type for field in fields(Recipe)}
    unknown = sorted(set(values) - set(types))
    if unknown:
        raise ModelError(f"{where} has unknown keys {', '.join(unknown)}; a recipe knows {', '.join(types)}")
    try:
        return Recipe(**{name: _converted(name, value, types[name]) for name, value in values.items()})
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.name.removesuffix(".toml") for path in _shipped().iterdir() if path.name.endswith(".toml"))


def _text_of(recipe: str | Path) -> tuple[str, str]:
    if str(recipe) in recipe_names():
        return (_shipped() / f"{recipe}.toml").read_text(encoding="utf-8"), f"recipe {recipe}"
    try:
        return Path(recipe).read_text(encoding="utf-8"), str(recipe)
    except FileNotFoundError:
        raise ModelError(f"there is no recipe {recipe}; give a TOML file, or one of {', '.join(recipe_names())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"recipe {recipe} cannot be read ({error})") from error


def _shipped() -> Any:
    return resources.files("deepflash.model") / "recipes"


def _value_of(text: str) -> Any:
    """Read a value as TOML does; what is no TOML is a word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _converted(name: str, value: Any, kind: Any) -> Any:
    if kind not in (int, float, bool):
        kind = str
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ModelError(f"{name} is {value!r}; it must be of type {kind.__name__}")
    return value


def _toml_value(value: float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _at_least(least: float) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: least <= value < float("inf")), f"at least {least}"


def _positive() -> tuple[Callable[[Any], bool], str]:
    return (lambda value: 0 < value < float("inf")), "positive"


def _share() -> tuple[Callable[[Any], bool], str]:
    return (lambda value: 0 <= value < 1), "at least 0 and below 1"


def _one_of(*choices: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in choices), f"one of {', '.join(choices)}"


_DEMANDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "encoding": _one_of(*ENCODINGS),
    "network": _one_of("deepflash", "light", "hdrnet", "unet", "dense-unet", "bokeh"),
    "guide": _one_of("pointwise", "curves"),
    "downs": ((lambda downs: downs == 0 or 2 <= downs <= MOST_DOWNS), f"0, or from 2 to {MOST_DOWNS}"),
    "width": ((lambda width: 0 < width <= 16), "positive and at most 16"),
    "encoder": _one_of(*ENCODERS),
    "size": ((lambda size: size >= STRIDE and size % STRIDE == 0), f"a multiple of {STRIDE}"),
    "decoder_std": _at_least(0),
    "decoder_kernels": _one_of("smooth", "random"),
    "encoder_order": _one_of("auto", "rgb", "bgr"),
    "head": _one_of("zero", "xavier"),
    "patch": ((lambda patch: patch >= 0 and patch % STRIDE == 0), f"0 or a multiple of {STRIDE}"),
    "chance": _one_of("none", "jitter", "flips"),
    "batch": ((lambda batch: 1 <= batch <= 4096), "from 1 to 4096"),
    "epochs": _at_least(1),
    "max_steps": _at_least(0),
    "learning_rate": _positive(),
    "beta1": _share(),
    "beta2": _share(),
    "epsilon": _positive(),
    "warmup_steps": _at_least(0),
    "schedule": _one_of("constant", "cosine"),
    "loss": _one_of("squares", "l1", "charbonnier"),
    "pixel_weight": _at_least(0),
    "judge": _one_of("none", "patch", "patch-beside", "picture"),
    "gan_weight": _at_least(0),
    "ssim_weight": _at_least(0),
    "ms_ssim_weight": _at_least(0),
    "ms_ssim_scales": ((lambda scales: 0 <= scales <= 5), "from 0 to 5"),
    "mean_weight": _at_least(0),
    "ema": _share(),
    "weight_decay": _at_least(0),
    "clip": _at_least(0),
    "accumulate": ((lambda parts: 1 <= parts <= 4096), "from 1 to 4096"),
    "keep": _at_least(0),
    "precision": _one_of("float32", "bfloat16"),
    "seed": ((lambda seed: 0 <= seed < 2**63), "from 0 to 2^63 - 1"),
}
