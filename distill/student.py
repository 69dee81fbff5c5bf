"""The model in training: loss inside one forward pass, adapters, precision, many processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from .batches import Batch
from .config import Lora, Train
from .losses import Loss, Teacher, distillation_loss

__all__ = ["Student", "full_tensor", "load_into", "make_accelerator"]


def make_accelerator() -> Accelerator:
    """Join the processes that torchrun started, on GPUs or else on CPUs.

    The first process scores models while others wait, longer than the usual limit of minutes.
    """
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=12))
    return Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[patience])


class Student:
    """A causal language model made ready for training, and plain again afterwards.

    Weights that are trained are float32; ``bf16`` computes with copies of them in bfloat16. Frozen
    weights under adapters keep the dtype they came with.

    Parameters
    ----------
    model : PreTrainedModel
        Trained in place.
    options : Train
    accelerator : Accelerator
        Says which device and how many processes.
    """

    def __init__(self, model: Any, options: Train, accelerator: Accelerator) -> None:
        self.model, self.options, self.accelerator = model, options, accelerator
        self._adapters = None if options.lora is None else _with_adapters(model, options.lora)
        self._sharded = options.parallel == "fsdp" and accelerator.num_processes > 1
        if options.lora is None:
            model.requires_grad_(True)
            if not self._sharded:
                model.float()
        if options.gradient_checkpointing:
            # The older name of the same method before transformers 5.24.
            enable = getattr(model, "activation_checkpointing_enable", None)
            (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
        if options.compile:
            for layer in model.get_decoder().layers:
                layer.compile(dynamic=True)
        inner = _WithLoss(model, options, autocast=not self._sharded)
        self.module = self._shard(inner) if self._sharded else accelerator.prepare_model(inner)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Parameters that are trained, by name; tied ones once."""
        named = self.model.named_parameters()
        return {name: weight for name, weight in named if weight.requires_grad}

    def loss(self, batch: Batch, teacher: Teacher | None, **options: Any) -> Loss:
        """Return the loss of a batch, see `distill.losses.distillation_loss`."""
        return Loss(*self.module(batch, teacher, options))

    def synchronise(self, yes: bool) -> Any:
        """Return a context: gradients of its backward pass are shared between processes, or not."""
        if self._sharded:
            self.module.set_requires_gradient_sync(yes)
        if yes or self._sharded:
            return nullcontext()
        return self.accelerator.no_sync(self.module)

    def reshard(self) -> None:
        """Give back what forward passes gathered that no backward pass follows.

        The outermost module keeps embedding and last norm whole until its backward pass, and
        `parameters` would be those, which the optimiser does not know.
        """
        if self._sharded:
            self.module.reshard()

    def state(self) -> dict[str, Tensor]:
        """Return the trained weights whole and on the CPU; all processes must call it."""
        return {name: full_tensor(weight) for name, weight in self.parameters.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take weights from `state`."""
        for name, weight in self.parameters.items():
            load_into(weight, state[name])

    def finish(self) -> dict[str, Tensor] | None:
        """Merge adapters and return to evaluation mode.

        Returns
        -------
        dict of str to Tensor or None
            All weights where the model's own are shards; all processes must call it.
        """
        if self.options.gradient_checkpointing:
            disable = getattr(self.model, "activation_checkpointing_disable", None)
            (disable or self.model.gradient_checkpointing_disable)()
            self.model.disable_input_require_grads()
        self.model.eval()
        if self._sharded:
            return self.state()
        if self._adapters is not None:
            dtype = self.model.dtype
            self.model.float()  # an update is small beside the weight it is added to
            self._adapters.merge_and_unload()
            self.model.to(dtype).requires_grad_(True)
        return None

    def _shard(self, inner: _WithLoss) -> nn.Module:
        policy = MixedPrecisionPolicy()
        if self.options.precision == "bf16":
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        layers = self.model.get_decoder().layers
        in_layers = {id(weight) for weight in layers.parameters()}
        _widen(w for w in self.model.parameters() if id(w) not in in_layers)
        for layer in layers:
            # One by one: in float32 all layers may be more than a GPU holds before they are shards.
            _widen(layer.parameters())
            fully_shard(layer, mp_policy=policy)
        return fully_shard(inner, mp_policy=policy)


class _WithLoss(nn.Module):
    """Model and loss in one forward pass: wrappers gather the head's weight with the rest."""

    def __init__(self, model: Any, options: Train, *, autocast: bool) -> None:
        super().__init__()
        self.model, self.chunk = model, options.chunk
        self.bf16 = autocast and options.precision == "bf16"

    def forward(
        self, batch: Batch, teacher: Teacher | None, options: Mapping[str, Any]
    ) -> tuple[Tensor | None, ...]:
        device = batch.input_ids.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            hidden = self.model.get_decoder()(
                input_ids=batch.input_ids, use_cache=False
            ).last_hidden_state
            loss = distillation_loss(
                hidden[:, :-1],
                self.model.get_output_embeddings().weight,
                batch.weights,
                targets=batch.targets,
                teacher=teacher,
                chunk=self.chunk,
                **options,
            )
        return tuple(loss)


def _with_adapters(model: Any, lora: Lora) -> Any:
    from peft import LoraConfig, LoraModel  # most trainings have no adapters

    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.modules),
    )
    adapters = LoraModel(model, settings, "default")
    # They come in the dtype of the model. In bfloat16 most steps of an entry are below its
    # rounding: at a learning rate of 1e-4, four of five entries drawn at random never move.
    _widen(weight for weight in model.parameters() if weight.requires_grad)
    return adapters


def _widen(weights: Iterable[nn.Parameter]) -> None:
    """Make weights float32, in place."""
    for weight in weights:
        weight.data = weight.data.float()


def full_tensor(value: Tensor) -> Tensor:
    """Return a copy of a tensor, or of all shards of one, on the CPU."""
    value = value.detach()
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.to("cpu", copy=True)


@torch.no_grad()
def load_into(target: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor into a tensor, or into the shard of it that is here."""
    whole = whole.to(target.device, target.dtype)
    if isinstance(target, DTensor):
        whole = distribute_tensor(whole, target.device_mesh, target.placements)
    target.copy_(whole)
