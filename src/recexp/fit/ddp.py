"""Several devices, also for models that have nothing to reduce."""

from __future__ import annotations

from pytorch_lightning.strategies import DDPStrategy


class DDP(DDPStrategy):
    """Lightning's data parallelism; a model without a gradient is left unwrapped, for torch refuses to wrap it."""

    def configure_ddp(self) -> None:
        assert self.model is not None
        if any(parameter.requires_grad for parameter in self.model.parameters()):
            super().configure_ddp()
