"""A function of one tensor as a CUDA graph: recorded once, then started as a whole."""

from collections.abc import Callable

import torch
from torch import Tensor


class Recorded:
    """All that a function does on the GPU, to be done again on other contents of its argument.

    Python runs only while this is made. Afterwards a call copies its argument to where the recorded
    kernels read it and starts all of them at once, which takes the processor as long as starting a
    few. So whatever is to change from call to call has to be the content of a tensor that stays
    where it is, and no number may be read back on the way.

    Args:
        function: returns a tensor.
        x: on a GPU; other arguments must have its shape.
        generator: what the function draws from, beside torch's own generator. Each start draws on
            from the state in which it finds it, the same numbers as a call of the function.

    Raises:
        RuntimeError: if the function does what cannot be recorded.

    The function runs three times before it is recorded, on a stream of its own, as torch asks for:
    compilers and libraries set themselves up at a first run, which cannot be recorded. What that
    changes is the caller's to undo.

    References:
        PyTorch, CUDA semantics, section "CUDA Graphs", whose pattern for a whole network this is.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], x: Tensor, generator: torch.Generator
    ) -> None:
        self.x = x.clone()
        here, aside = torch.cuda.current_stream(x.device), torch.cuda.Stream(x.device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(3):
                function(self.x)
        here.wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(generator)
        try:
            with torch.cuda.graph(self.graph, stream=aside):
                self.result = function(self.x)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            raise RuntimeError(
                f"fit: compile='cuda-graph': torch could not record the step ({first}). Neither "
                f"the model nor its noise may read a number back from the GPU, as .item(), .cpu() "
                f"and `if` do, or draw from a generator of its own. compile=True trains without"
            ) from error

    def __call__(self, x: Tensor) -> Tensor:
        """The function's result, in a tensor that the next call overwrites."""
        self.x.copy_(x)
        self.graph.replay()
        return self.result
