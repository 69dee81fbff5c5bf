"""Memory and time of the chunked distillation loss against the plain one.

    python tests/benchmarks/bench_losses.py
    python tests/benchmarks/bench_losses.py --tokens 512 --dtype bfloat16 --supervised 0.06

Beside them stand the losses of TRL (its generalised Jensen-Shannon divergence at beta = 0, which is
the forward KL, on full logits) and Liger (the chunked one, not compiled), where they are installed:
``pip install trl datasets liger-kernel``. Each variant runs forward and backward in a process of
its own, because a peak can't be reset: extra memory is the peak less what the inputs hold; the
gradients of states and head are in it.
"""

import argparse
import json
import subprocess
import sys
import time
from importlib.util import find_spec

import torch
import torch.nn.functional as F

from distill.losses import TeacherHidden, distillation_loss


def peak_and_current(device: str) -> tuple[int, int]:
    """Peak and current memory of this process, bytes; Linux on the CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
    with open("/proc/self/status") as lines:
        kib = {key: value.split()[0] for key, value in (line.split(":", 1) for line in lines)
               if key in ("VmHWM", "VmRSS")}  # fmt: skip
    return int(kib["VmHWM"]) * 1024, int(kib["VmRSS"]) * 1024


def naive(hidden, head, weights, teacher) -> torch.Tensor:
    """Forward KL on full logits of every position, weighted afterwards."""
    log_q = F.log_softmax((hidden @ head.T).float(), -1)
    with torch.no_grad():
        log_p = F.log_softmax((teacher.hidden @ teacher.head.T).float(), -1)
    each = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    return (weights * each).sum()


def trl():
    """Return TRL's loss of full logits; it knows labels that count and labels that do not."""
    from trl.experimental.gkd import GKDTrainer

    def loss(hidden, head, weights, teacher) -> torch.Tensor:
        with torch.no_grad():
            target = teacher.hidden @ teacher.head.T
        return GKDTrainer.generalized_jsd_loss(hidden @ head.T, target, _labels(weights), beta=0.0)

    return loss


def liger():
    """Return Liger's loss, chunk by chunk, with its default length of a chunk."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    settings = {"weight_hard_loss": 0.0, "weight_soft_loss": 1.0, "beta": 0.0, "compiled": False}
    whole = LigerFusedLinearJSDLoss(**settings)

    def loss(hidden, head, weights, teacher) -> torch.Tensor:
        return whole(hidden, head, teacher.hidden, teacher.head, _labels(weights))

    return loss


def _labels(weights: torch.Tensor) -> torch.Tensor:
    return torch.where(weights > 0, 0, -100)


def own(chunk: int):
    """Return the chunked loss."""

    def loss(hidden, head, weights, teacher) -> torch.Tensor:
        return distillation_loss(hidden, head, weights, teacher=teacher, chunk=chunk).total

    return loss


OTHERS = {"naive": lambda: naive, "trl": trl, "liger": liger}
PACKAGES = {"trl": "trl", "liger": "liger_kernel"}


def measure(variant: str, a: argparse.Namespace) -> dict[str, float]:
    """Run one variant once; return its loss, gradient norms, seconds and extra GiB."""
    torch.set_num_threads(a.threads)
    # Packages are imported before anything is measured.
    loss_of = OTHERS[variant]() if variant in OTHERS else own(int(variant))
    g = torch.Generator().manual_seed(0)
    dtype = getattr(torch, a.dtype)

    def normal(*shape, scale=1.0):
        return (torch.randn(*shape, generator=g) * scale).to(a.device, dtype)

    scale = a.hidden**-0.5
    hidden = normal(a.tokens, a.hidden).requires_grad_()
    head = normal(a.vocab, a.hidden, scale=scale).requires_grad_()
    teacher = TeacherHidden(normal(a.tokens, a.hidden), normal(a.vocab, a.hidden, scale=scale))
    weights = torch.zeros(a.tokens, device=a.device)
    weights[: max(1, round(a.tokens * a.supervised))] = 1.0
    weights /= weights.sum()

    _, before = peak_and_current(a.device)
    start = time.perf_counter()
    loss = loss_of(hidden, head, weights, teacher)
    loss.backward()
    value = loss.item()
    seconds = time.perf_counter() - start
    peak, _ = peak_and_current(a.device)
    return {
        "loss": value,
        "hidden_grad": hidden.grad.double().norm().item(),
        "head_grad": head.grad.double().norm().item(),
        "seconds": seconds,
        "extra_gib": (peak - before) / 2**30,
    }


def main() -> None:
    """Print a table, one row a variant, with the memory ratio to the plain loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--supervised", type=float, default=1.0, help="share of the tokens")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--variants", nargs="+", default=["naive", "trl", "liger", "128", "256", "512"]
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(measure(a.one, a)))
        return
    print(f"{'variant':>10} {'loss':>12} {'|d hidden|':>12} {'|d head|':>12} "
          f"{'seconds':>8} {'of naive':>8} {'GiB':>6} {'of naive':>8}")  # fmt: skip
    plain = None
    for variant in a.variants:
        if variant in PACKAGES and find_spec(PACKAGES[variant]) is None:
            print(f"{variant:>10} not installed")
            continue
        command = [sys.executable, __file__, *sys.argv[1:], "--one", variant]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        row = json.loads(out)
        plain = row if variant == "naive" else plain
        times, space = ("", "") if plain is None else (
            f"{row[name] / plain[name]:.2f}" for name in ("seconds", "extra_gib")
        )  # fmt: skip
        print(f"{variant:>10} {row['loss']:12.6g} {row['hidden_grad']:12.6g} "
              f"{row['head_grad']:12.6g} {row['seconds']:8.1f} {times:>8} "
              f"{row['extra_gib']:6.2f} {space:>8}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
