"""TerraMind's encoder from terratorch, without the rest of terratorch.

`import terratorch` loads every backbone, data set and task that it knows (about 6,000 modules and 10 to 17 seconds),
because its package `__init__` does so before any submodule can be reached. The encoder itself needs twelve of its
modules, torch, torchvision and einops. This room imports just those: for the time of the import the parent packages are
bare (a path and nothing else), and afterwards they are taken away again. The leaf modules stay, so that a later
`import terratorch` by anyone is whole and finds the same classes. Where terratorch is laid out differently, or was
imported already, the ordinary way is taken.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from cryosentinel_core.errors import ModelError

if TYPE_CHECKING:
    from cryosentinel_core.learn.model_spec import ModelSpec

_HOME: Final = "terratorch.models.backbones.terramind.model"
_LOCK = threading.Lock()


@contextmanager
def _bare_parents() -> Iterator[None]:
    """Stand bare packages in for the parents of terratorch's TerraMind modules, and take them away at the end."""
    spec = importlib.util.find_spec("terratorch")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("terratorch is not installed")
    root = next(iter(spec.submodule_search_locations))
    parts = _HOME.split(".")
    names = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    try:
        for depth, name in enumerate(names, start=1):
            package = types.ModuleType(name)
            package.__path__ = ["/".join([root, *parts[1:depth]])]
            sys.modules[name] = package
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


def _import_vit() -> Any:
    """The module that holds `TerraMindViT` and its `LayerNorm`, by the light way if there is one."""
    name = f"{_HOME}.terramind_vit"
    with _LOCK:
        if name not in sys.modules and "terratorch" not in sys.modules:
            try:
                with _bare_parents():
                    return importlib.import_module(name)
            except ImportError:
                for leaf in [leaf for leaf in sys.modules if leaf.startswith(f"{_HOME}.")]:
                    del sys.modules[leaf]  # another layout of terratorch: import all of it
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise ModelError(
                f"terratorch cannot be imported: {error}", "pip install 'terratorch>=1.2.9', or use --model water-index"
            ) from error


def encode_blocks(encoder: Any, chips: Mapping[str, Tensor], indices: tuple[int, ...]) -> list[Tensor]:
    """Tokens after some of an encoder's blocks: `[encoder(chips)[i] for i in indices]` to the bit, without those of all others.

    The encoder's own forward keeps and averages the tokens after every block, 24 for the large one, of which a decoder sees four.

    Args:
        encoder: As `build_encoder` makes it: no register tokens, modalities averaged.
        chips: Modality -> (N, C, H, W), in the order of the encoder's modalities.
        indices: Of the blocks wanted, ascending.

    Returns:
        For each (N, 196, width), averaged over the modalities that were given.

    Source: terratorch 1.2.11, `TerraMindViT.forward`.
    """
    parts = []
    for name, pixels in chips.items():
        embedded = encoder.encoder_embeddings[encoder.mod_name_mapping[name]](pixels)
        parts.append(embedded["x"] + embedded["emb"])
    lengths = [part.shape[-2] for part in parts]
    x = torch.cat(parts, dim=1)
    last = len(encoder.encoder) - 1
    found = []
    for number, block in enumerate(encoder.encoder[: indices[-1] + 1]):
        x = block(x)
        if number in indices:
            tokens = encoder.encoder_norm(x) if number == last else x
            found.append(torch.stack(torch.split(tokens, lengths, dim=1), dim=1).mean(dim=1))
    return found


def build_encoder(spec: ModelSpec) -> nn.Module:
    """TerraMind's encoder with random weights, as terratorch's registry builds it under `spec.backbone`.

    Called with a dict of modalities `{name: (N, C, H, W)}` it returns a list of `depth` tensors (N, 196, width): the
    tokens after each block, averaged over the modalities that were given.

    Args:
        spec: The architecture; only backbone and modalities matter here.

    Raises:
        ModelError: If terratorch is not installed or too old.

    Source: Jakubik et al. (2025), TerraMind; terratorch 1.2.11, `terramind_register.py`.
    """
    vit = _import_vit()
    shape = spec.shape
    encoder: nn.Module = vit.TerraMindViT(
        modalities=list(spec.modalities),
        encoder_depth=shape.depth,
        dim=shape.width,
        num_heads=shape.heads,
        mlp_ratio=4,
        qkv_bias=not shape.gated,
        proj_bias=not shape.gated,
        mlp_bias=not shape.gated,
        num_register_tokens=0,
        norm_layer=partial(vit.LayerNorm, eps=1e-6, bias=False),
        act_layer=nn.SiLU if shape.gated else nn.GELU,
        gated_mlp=shape.gated,
    )
    return encoder
