"""Devices that most machines lack, played by the CPU; `test_device.py` trains on them.

| who | plays | and cannot show |
| --- | --- | --- |
| `Tape` with `Stream` | a CUDA graph, and the stream it is recorded on | speed; that kernels are |
| | | recorded without running; memory that the graph keeps |
| `Apple` | Apple's GPU, which has no float64 | its other missing operations, its rounding |
| `elsewhere` | any device: its tensors have shapes, a place, and no contents | numbers, and time |

They stand on parts of torch that torch does not promise, all of them imported here:
`test_stand_ins.py` says of each what would be wrong if it changed.
"""

import contextlib

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
from torch.utils.weak import WeakIdKeyDictionary


@contextlib.contextmanager
def elsewhere(name):
    """Tensors on a device of this name, which torch then has for the whole process.

    A kernel refuses tensors of two devices, as on a GPU, and nobody can read a number.
    """
    if torch._C._get_privateuse1_backend_name() != name:
        _setup_privateuseone_for_python_backend(name)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


class Tape(TorchDispatchMode):
    """Does what a CUDA graph does, on a CPU: it keeps torch's kernels with their arguments.

    A replay runs them again, without Python, and puts each result where the first one lay. What
    cannot be captured is refused as CUDA refuses it: reading a number back, a size that depends on
    values, a generator that was not registered. (Unlike CUDA's, its capture also computes.)
    """

    refused = frozenset(
        {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::unique_dim"}
    )

    def __init__(self):
        super().__init__()
        self.kernels, self.registered = [], torch.default_generator

    def register_generator_state(self, generator):
        self.registered = generator

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if kernel.name().split(".")[0] in self.refused:
            raise RuntimeError("operation not permitted when stream is capturing")
        source = kwargs.get("generator") or self.registered  # a new Python object at each call
        if not torch.equal(source.get_state(), self.registered.get_state()):
            raise RuntimeError("increase offset for a CUDA generator not in capture mode")
        result = kernel(*args, **kwargs)
        places = tree_map_only(torch.Tensor, torch.detach, (args, kwargs, result))
        self.kernels.append((kernel, *places))
        return result

    @torch.no_grad()
    def replay(self):
        for kernel, args, kwargs, results in self.kernels:
            again = kernel(*args, **kwargs)
            for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Apple(TorchFunctionMode):
    """Plays one of Apple's GPUs, which have no float64: the CPU is the device.

    A tensor is on the host if ``.cpu()`` made it, if torch made it and nobody said where, or if it
    was computed from such tensors alone. Any other that is float64 is refused, as torch does.
    """

    def __init__(self):
        super().__init__()
        self.host = WeakIdKeyDictionary()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        result = function(*args, **kwargs)
        if function is torch.Tensor.cpu:
            result = result.clone()
            self.host[result] = True
        elif all(t in self.host for t in given) and kwargs.get("device") is None:
            self.host.update((t, True) for t in tree_leaves(result) if torch.is_tensor(t))
        for t in tree_leaves(result):
            if torch.is_tensor(t) and t.dtype == torch.float64 and t not in self.host:
                raise TypeError(f"Cannot convert a MPS Tensor to float64: {function}")
        return result


class Stream:
    """A CPU has one."""

    def __init__(self, device=None):
        pass

    def wait_stream(self, other):
        pass

    def is_capturing(self):
        return isinstance(_get_current_dispatch_mode(), Tape)
