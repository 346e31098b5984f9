"""A function of tensors as a CUDA graph: recorded once, then started as a whole."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vaelib.arguments import Unable


class Recorded:
    """All that a function does on the GPU, to be done again on other contents of its arguments.

    Python runs only while this is made. Afterwards a call copies its arguments to where the
    recorded kernels read them and starts all of them at once, which takes the processor as long as
    starting a few. So whatever is to change from call to call has to be the content of a tensor
    that stays where it is, and no number may be read back on the way.

    Args:
        function: returns a tensor.
        inputs: its arguments, on a GPU; others must have their shapes.
        generator: what the function draws from, beside torch's own generator; None if from nothing
            else. Each start draws on from the state in which it finds it, the same numbers as a
            call of the function.
        where: who asked for it, for the error message.

    Raises:
        RuntimeError: if the function does what cannot be recorded.

    The function runs three times before it is recorded, on a stream of its own, as torch asks for:
    compilers and libraries set themselves up at a first run, which cannot be recorded. What that
    changes is the caller's to undo.

    References:
        PyTorch, CUDA semantics, section "CUDA Graphs", whose pattern for a whole network this is.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        inputs: Sequence[Tensor],
        generator: torch.Generator | None,
        where: str,
    ) -> None:
        self.inputs = [t.clone() for t in inputs]
        device = self.inputs[0].device
        here, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(3):
                function(*self.inputs)
        here.wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        if generator is not None:
            self.graph.register_generator_state(generator)
        try:
            with torch.cuda.graph(self.graph, stream=aside):
                self.result = function(*self.inputs)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            raise Unable(
                f"{where}: compile='cuda-graph': torch could not record the step ({first}). "
                f"Neither the model nor its noise may read a number back from the GPU, as .item(), "
                f".cpu() and `if` do, or draw from a generator of its own. compile=True trains "
                f"without",
                "compile",
            ) from error

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's result, in a tensor that the next call overwrites."""
        for place, t in zip(self.inputs, inputs, strict=True):
            place.copy_(t)
        self.graph.replay()
        return self.result
