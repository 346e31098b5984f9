"""Plant known bugs, one at a time, in a copy of the repository, and see make test's checks fail.

    make sabotage            all of them
    make sabotage ONLY=kl    those with "kl" in their name

Each bug is an edit of one file, a check of `.ci/checks.py`, and what that check must say: a check
that fails for another reason (a typo in the edit, say) does not count. Before it is trusted, each
check is run on the copy without a bug and has to pass. There are two copies, one for each core.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
from chapters import ROOT, chapters


class Bug(NamedTuple):
    name: str
    file: str
    edit: Callable[[str], str]
    check: tuple[str, ...]  # arguments of .ci/checks.py
    complaint: str  # regular expression that its output must match


def swap(old: str, new: str) -> Callable[[str], str]:
    """Replace one passage, which must occur exactly once."""

    def edit(text: str) -> str:
        if text.count(old) != 1:
            raise LookupError(f"{text.count(old)} passages instead of one read {old!r}")
        return text.replace(old, new)

    return edit


def notebook(change: Callable[[list], None], what: str = "cells") -> Callable[[str], str]:
    """Change a notebook's cells, or its metadata."""

    def edit(text: str) -> str:
        content = json.loads(text)
        change(content[what])
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    return edit


def place(output: dict, table: bool = False) -> tuple[dict, str] | None:
    """Where an output that nbval compares has its text: a printed one, or that of a table."""
    if output.get("text") and not table:
        return output, "text"
    return (output["data"], "text/html") if "text/html" in output.get("data", {}) else None


def compared(cells: list, table: bool = False) -> int:
    """Index of the first cell with a number that nbval compares, printed or (only) in a table."""
    for index, cell in enumerate(cells):
        ignored = "nbval-ignore-output" in cell["metadata"].get("tags", [])
        for output in cell.get("outputs", []):
            found = place(output, table)
            if not ignored and found and re.search(r"\d", "".join(found[0][found[1]])):
                return index
    raise LookupError("no cell with a number that nbval compares")


def up_to_compared(cells: list, table: bool = False) -> None:
    """The cells after the first comparison are cut: they would cost minutes and show no more."""
    del cells[compared(cells, table) + 1 :]


def alter_a_digit(cells: list, table: bool = False) -> None:
    up_to_compared(cells, table)
    for output in cells[-1]["outputs"]:
        found = place(output, table)
        text = "".join(found[0][found[1]]) if found else ""
        if re.search(r"\d", text):
            last = max(i for i, c in enumerate(text) if c.isdecimal())
            found[0][found[1]] = text[:last] + str((int(text[last]) + 1) % 10) + text[last + 1 :]
            return


def checked(cells: list, pattern: str = "") -> dict:
    """The first folded check whose line matches."""
    for cell in cells:
        line = cell["metadata"].get("mystnb", {}).get("code_prompt_show", "")
        if "checked" in cell["metadata"].get("tags", []) and re.search(pattern, line):
            return cell
    raise LookupError(f"no check whose line matches {pattern!r}")


def delete_a_check(cells: list) -> None:
    cells.remove(checked(cells))


def belie_a_check(cells: list) -> None:
    """Another number in the line that says what was checked."""
    page = checked(cells, r"\d")["metadata"]["mystnb"]
    line = re.sub(r"\d+(?=\D*$)", "8371", page["code_prompt_show"])
    page.update(code_prompt_show=line, code_prompt_hide=line)


def open_a_check(cells: list) -> None:
    tags = checked(cells)["metadata"]["tags"]
    tags[:] = [tag for tag in tags if tag not in ("checked", "hide-cell")]


def forget_to_run(cells: list) -> None:
    cell = next(c for c in cells if c["cell_type"] == "code")
    cell["execution_count"] = None


def drop_tag(cells: list, tag: str, new: str | None = None) -> None:
    for cell in cells:
        tags = cell["metadata"].get("tags", [])
        tags[:] = [t if t != tag else new for t in tags if t != tag or new]


def drop_alt_text(cells: list) -> None:
    drawn = [
        c for c in cells if any("image/svg+xml" in o.get("data", {}) for o in c.get("outputs", []))
    ]
    cell = next(c for c in drawn if "image" in c["metadata"].get("mystnb", {}))
    del cell["metadata"]["mystnb"]["image"]


def unit(module: str) -> tuple[str, ...]:
    """A file of tests, or one test of it: ``kl``, ``kl::test_something``."""
    file, *test = module.split("::")
    return ("unit", "--paths", "::".join([f"tests/test_{file}.py", *test]))


CHAPTERS = [chapter.path.name for chapter in chapters()]
NOTEBOOKS = unit("notebooks")
SITE = ("book", "site", "--paths", "tests/browser/test_site.py")


def playground(test: str) -> tuple[str, ...]:
    return ("site", "--paths", f"tests/browser/test_playground.py::test_{test}")


BUGS = [
    Bug(
        "kl: the sign",
        "vaelib/kl/closed.py",
        swap("return 0.5 * (loc**2 +", "return -0.5 * (loc**2 +"),
        unit("kl"),
        "test_standard_normal_equals_quadrature",
    ),
    Bug(
        "kl: mean for sum",
        "vaelib/kl/closed.py",
        swap("- logvar).sum(-1)", "- logvar).mean(-1)"),
        unit("kl"),
        "test_standard_normal_equals_quadrature",
    ),
    Bug(
        "kl: the ½ is missing",
        "vaelib/kl/closed.py",
        swap("return 0.5 * (loc**2 +", "return (loc**2 +"),
        unit("kl"),
        "test_standard_normal_equals_quadrature",
    ),
    Bug(
        "kl: the textbook form in float32",
        "vaelib/kl/closed.py",
        swap("torch.expm1(logvar) - logvar", "torch.exp(logvar) - 1 - logvar"),
        unit("kl"),
        "test_float32_near_the_prior",
    ),
    Bug(
        "kl: exp(logvar) taken as the scale",
        "vaelib/kl/closed.py",
        swap("Normal(loc, torch.exp(0.5 * logvar)", "Normal(loc, torch.exp(logvar)"),
        unit("kl"),
        "test_diagonal_normal_density",
    ),
    Bug(
        "kl: 0 times an infinite 1/σ",
        "vaelib/kl/closed.py",
        swap("return difference * root * root", "return difference * (root * root)"),
        unit("kl::test_extreme_variances"),
        "test_extreme_variances",
    ),
    Bug(
        "kl: the batch taken for the samples",
        "vaelib/kl/monte_carlo.py",
        swap("if z.ndim <= len(one) or z", "if z"),
        unit("kl::test_a_forgotten_axis_of_samples_is_refused"),
        "DID NOT RAISE",
    ),
    Bug(
        "amortized: half of the determinant in the floor",
        "vaelib/amortized/diagnostics.py",
        swap("dim2=-1).log().sum(-1)\n\n\nclass", "dim2=-1).log().sum(-1) / 2\n\n\nclass"),
        unit("amortized"),
        "test_floors_of_both_directions_by_minimizing",
    ),
    Bug(
        "amortized: the covariance of Laplace is the curvature, not its inverse",
        "vaelib/amortized/per_datum.py",
        swap("precision_matrix=curvature", "covariance_matrix=curvature"),
        unit("amortized"),
        "test_laplace_is_exact_for_a_linear_gaussian",
    ),
    Bug(
        "amortized: refine goes down",
        "vaelib/amortized/per_datum.py",
        swap("lr=lr, maximize=True", "lr=lr, maximize=False"),
        unit("amortized"),
        "test_refine_finds_the_best_normal",
    ),
    Bug(
        "amortized: data of a batch influence each other",
        "vaelib/amortized/per_datum.py",
        swap("values.sum(), raw,", "values.logsumexp(0), raw,"),
        unit("amortized"),
        "test_refine_takes_each_datum_alone",
    ),
    Bug(
        "amortized: a one-sided quantile for a central interval",
        "vaelib/amortized/diagnostics.py",
        swap("z.new_tensor((1 + level) / 2)", "z.new_tensor(level)"),
        unit("amortized"),
        "test_coverage_of_the_exact_posterior",
    ),
    Bug(
        "kl: k3 without its r - 1",
        "vaelib/kl/monte_carlo.py",
        swap("torch.expm1(log_r) - log_r", "-log_r"),
        unit("kl"),
        "test_k3_value|test_k3_of_one_draw",
    ),
    Bug(
        "kl: k3 with the ratio upside down",
        "vaelib/kl/monte_carlo.py",
        swap("log_r = p.log_prob(z) - q.log_prob(z)", "log_r = q.log_prob(z) - p.log_prob(z)"),
        unit("kl"),
        "test_k3_value|test_k3_of_one_draw",
    ),
    Bug(
        "kl: the standard error without its root of n",
        "vaelib/kl/monte_carlo.py",
        swap("values.std(0) / math.sqrt(len(values))", "values.std(0)"),
        unit("kl"),
        "test_monte_carlo_value_and_standard_error",
    ),
    Bug(
        "kl: 0 times infinity on the line",
        "vaelib/kl/line.py",
        swap("torch.where(q > 0, log_q - log_p, torch.zeros_like(q))", "log_q - log_p"),
        unit("kl"),
        "test_line_where_the_supports_differ",
    ),
    Bug(
        "kl: the reverse fit descends the forward KL",
        "vaelib/kl/line.py",
        swap(
            "kl_line(DiagonalNormal(*theta).log_prob(z[:, None]), log_p, z)",
            "kl_line(log_p.log_softmax(0) - (z[1] - z[0]).log(), "
            "DiagonalNormal(*theta).log_prob(z[:, None]), z)",
        ),
        unit("kl"),
        "test_reverse_fit_equals_a_search",
    ),
    Bug(
        "reparam: exp(logvar) taken as the scale",
        "vaelib/reparam.py",
        swap("loc + torch.exp(0.5 * logvar) * eps", "loc + torch.exp(logvar) * eps"),
        unit("reparam"),
        "test_value_by_hand",
    ),
    Bug(
        "reparam: the noise scales the mean too",
        "vaelib/reparam.py",
        swap("loc + torch.exp(0.5 * logvar) * eps", "(loc + eps) * torch.exp(0.5 * logvar)"),
        unit("reparam"),
        "test_value_by_hand",
    ),
    Bug(
        "reparam: a detached z",
        "vaelib/reparam.py",
        swap(
            "loc + torch.exp(0.5 * logvar) * eps", "(loc + torch.exp(0.5 * logvar) * eps).detach()"
        ),
        unit("reparam"),
        "test_jacobian_by_hand",
    ),
    Bug(
        "reparam: the score-function gradient has the wrong sign",
        "vaelib/reparam.py",
        swap("(f - baseline).detach() * log_q", "(baseline - f).detach() * log_q"),
        unit("reparam"),
        "test_score_function_mean_and_variance",
    ),
    Bug(
        "reparam: f is not held constant in the surrogate",
        "vaelib/reparam.py",
        swap("(f - baseline).detach() * log_q", "(f - baseline) * log_q"),
        unit("reparam"),
        "test_f_is_held_constant",
    ),
    Bug(
        "reparam: the best baseline without its denominator",
        "vaelib/reparam.py",
        swap("(f * score**2).sum(0) / (score**2).sum(0)", "(f * score**2).mean(0)"),
        unit("reparam"),
        "test_best_baseline_is_the_lowest_point",
    ),
    Bug(
        "reparam: a sample's own value in its baseline",
        "vaelib/reparam.py",
        swap("(f.sum(0) - f) / (len(f) - 1)", "(f.sum(0) + 0 * f) / len(f)"),
        unit("reparam"),
        "test_leave_one_out_is_unbiased",
    ),
    Bug(
        "reparam: the score is not stopped",
        "vaelib/reparam.py",
        swap(
            "DiagonalNormal(q.loc.detach(), q.logvar.detach())", "DiagonalNormal(q.loc, q.logvar)"
        ),
        unit("reparam"),
        "test_sticking_the_landing",
    ),
    Bug(
        "reparam: the temperature multiplies",
        "vaelib/reparam.py",
        swap("(logits + gumbel) / temperature", "(logits + gumbel) * temperature"),
        unit("reparam"),
        "test_gumbel_softmax",
    ),
    Bug(
        "vae: a detached z",
        "vaelib/vae/vae.py",
        swap(
            "log_likelihood = self.decoded(z, c).log_prob(x)",
            "log_likelihood = self.decoded(z.detach(), c).log_prob(x)",
        ),
        unit("vae"),
        "test_gradient_reaches_every_parameter_and_is_right",
    ),
    Bug(
        "vae: the KL is added",
        "vaelib/elbo.py",
        swap("return self.log_likelihood - self.kl", "return self.log_likelihood + self.kl"),
        unit("vae"),
        "test_elbo_is_below_the_exact_evidence",
    ),
    Bug(
        "condition: the labels' codes in another order",
        "vaelib/vae/condition.py",
        swap(
            "torch.arange(labels, device=c.device)", "torch.arange(labels, device=c.device).flip(0)"
        ),
        unit("condition"),
        "test_each_row_is_that_of_its_labels_own_model",
    ),
    Bug(
        "condition: a label that does not exist is nobody's, in silence",
        "vaelib/vae/condition.py",
        swap(
            "return one_hot.masked_fill(~_exist(c, labels)[:, None], torch.nan)", "return one_hot"
        ),
        unit("condition"),
        "test_a_loss_reads_no_label_and_is_nan",
    ),
    Bug(
        "condition: q and its KL without the label",
        "vaelib/vae/vae.py",
        swap(
            "        raw = cast(Raw, called(",
            "        c = None if c is None else 0 * c\n        raw = cast(Raw, called(",
        ),
        unit("condition"),
        "test_each_row_is_that_of_its_labels_own_model",
    ),
    Bug(
        "condition: a decoder without the label",
        "vaelib/vae/model.py",
        swap(
            "        raw = cast(Tensor, called(self.decoder,",
            "        c = None if c is None else 0 * c\n"
            "        raw = cast(Tensor, called(self.decoder,",
        ),
        unit("condition"),
        "test_each_row_is_that_of_its_labels_own_model",
    ),
    Bug(
        "evaluate: each batch with the labels of the first",
        "vaelib/evaluate/encoder.py",
        swap("(c[rows],)", "(c[: len(x[rows])],)"),
        unit("condition"),
        "test_every_measure_is_that_of_the_labels_own_model",
    ),
    Bug(
        "evaluate: bits by all values, those that are missing too",
        "vaelib/evaluate/table.py",
        swap("seen = (~x.isnan()).sum().item() / max(len(x), 1)", "seen = x.numel() / len(x)"),
        unit("own_data_exact::test_evidence_and_bits_with_holes_are_those_of_what_is_seen"),
        "test_evidence_and_bits_with_holes",
    ),
    Bug(
        "evaluate: bits of a value in nats",
        "vaelib/evaluate/table.py",
        swap("-nats / (math.log(2) * values)", "-nats / values"),
        unit("evaluate_report"),
        "test_every_number_is_that_of_its_part",
    ),
    Bug(
        "impute: samples of q without their weights",
        "vaelib/evaluate/impute.py",
        swap("torch.softmax(torch.cat(weights), 0)", "torch.softmax(0 * torch.cat(weights), 0)"),
        unit("own_data_exact::test_what_is_filled_in_is_the_exact_conditional"),
        "test_what_is_filled_in_is_the_exact_conditional",
    ),
    Bug(
        "impute: draws without the noise of a value",
        "vaelib/evaluate/impute.py",
        swap(
            "drawn = draw(model.decode(z, *given), generator=generator)",
            "drawn = model.decode(z, *given).mean",
        ),
        unit("own_data_exact::test_what_is_filled_in_is_the_exact_conditional"),
        "test_what_is_filled_in_is_the_exact_conditional",
    ),
    Bug(
        "vae: the loss has the wrong sign",
        "vaelib/vae/vae.py",
        swap(
            "return -self.objective(x, eps, c).mean()",
            "return self.objective(x, eps, c).mean()",
        ),
        unit("vae"),
        "test_loss_is_minus_the_mean",
    ),
    Bug(
        "collapse: free bits datum by datum",
        "vaelib/collapse.py",
        swap("kl.mean(0).clamp(min=floor).sum()", "kl.clamp(min=floor).mean(0).sum()"),
        unit("collapse"),
        "test_below_the_floor_nothing_pushes",
    ),
    Bug(
        "collapse: a warm-up that forgets the free bits",
        "vaelib/collapse.py",
        swap("return self.beta * self.kl_warmup * second", "return self.beta * second"),
        unit("collapse"),
        "test_the_loss_is_that_by_hand",
    ),
    Bug(
        "collapse: a loss that is compared where the KL is 0",
        "vaelib/collapse.py",
        swap(
            "weight.normal_(std=0.1, generator=generator)",
            "weight.zero_()",
        ),
        unit("collapse"),
        r"test_what_was_built_in_is_named\[reduction\]",
    ),
    Bug(
        "collapse: the encoder hears its KL too",
        "vaelib/collapse.py",
        swap("start.terms(x, eps).log_likelihood.mean()", "start.terms(x, eps).elbo.mean()"),
        unit("collapse"),
        r"test_what_was_built_in_is_named\[detached\]",
    ),
    Bug(
        "clinic: a split that is right although it trains on the test",
        "vaelib/course/checks/clinic.py",
        swap(" if index not in range(held_out)]", "]"),
        unit("clinic::test_the_healthy_parts_pass_the_checks"),
        "mend_5: ",
    ),
    Bug(
        "clinic: another diagnosis is called right",
        "vaelib/course/clinic.py",
        swap('8: Case(\n        "C",', '8: Case(\n        "A",'),
        unit("clinic::test_each_answer_is_told_why_in_the_words_of_the_page"),
        r"test_each_answer_is_told_why_in_the_words_of_the_page\[C-8\]",
    ),
    Bug(
        "clinic: the page shows other code than was run",
        "book/clinic.ipynb",
        swap("nn.init.constant_(layer.bias, -5.0)", "nn.init.constant_(layer.bias, -4.0)"),
        unit("clinic::test_the_code_on_the_page_is_the_code_that_was_run"),
        "test_the_code_on_the_page",
    ),
    Bug(
        "clinic: a patient that was never sick",
        "benchmarks/clinic.py",
        swap(
            "adam = torch.optim.Adam(decoder.parameters(), lr=lr)",
            "adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr)",
        ),
        unit("clinic::test_a_check_knows_the_sick_function_by_name[8]"),
        "DID NOT RAISE",
    ),
    Bug(
        "clinic: a number of a reply that is not the record's",
        "vaelib/course/clinic.py",
        swap("So the loss is a mean over pixels", "So the loss is 0.27, a mean over pixels"),
        unit("clinic::test_each_number_of_a_reply_is_of_the_record_or_of_the_set_up"),
        "0.27",
    ),
    Bug(
        "likelihood: grey pixels pass for binary ones",
        "vaelib/likelihood/pictures.py",
        swap("support = constraints.boolean", "support = constraints.unit_interval"),
        unit("vae"),
        "test_bad_data_is_refused",
    ),
    Bug(
        "run: settings are written before the likelihood has seen the data",
        "vaelib/run/fit.py",
        swap("    preparation(new.likelihood, rows.train", "    (new.likelihood, rows.train"),
        unit("fit_own::test_a_likelihood_that_does_not_take_the_data_leaves_no_folder"),
        r"assert not ",
    ),
    Bug(
        "likelihood: a binary pixel's tail is forgotten above a logit of 20",
        "vaelib/likelihood/pictures.py",
        swap("(1 - x) @ logsigmoid(-raw).mT", "(x - 1) @ torch.nn.functional.softplus(raw).mT"),
        unit("likelihood::test_bernoulli_of_pairs_forgets_no_tail_in_double_precision"),
        "Not equal to tolerance",
    ),
    Bug(
        "check_model: a prior that knows the label is asked without one",
        "vaelib/vae/check.py",
        swap("return model.prior_given(*given) if given else model.prior", "return model.prior"),
        unit("check_model::test_what_fits_passes_and_is_as_it_was"),
        r"posterior: |AttributeError|TypeError",
    ),
    Bug(
        "check_model: a row is compared without the rows beside it, and with itself",
        "vaelib/vae/check.py",
        swap("torch.cat(alone, 1)", "found"),
        unit("check_model::test_each_fault_is_found"),
        r"Failed.*DID NOT RAISE|does not match",
    ),
    Bug(
        "elbo: likelihoods averaged instead of log-likelihoods",
        "vaelib/elbo.py",
        swap("return log_w.mean(0)", "return log_w.exp().mean(0).log()"),
        unit("elbo"),
        "test_both_estimators_agree|by_hand|importance",
    ),
    Bug(
        "elbo: the surrogate's weights favour the worst sample",
        "vaelib/elbo.py",
        swap("torch.softmax(log_w.detach(), 0)", "torch.softmax(-log_w.detach(), 0)"),
        unit("elbo"),
        "test_surrogate_has_the_gradient",
    ),
    Bug(
        "elbo: the surrogate's weights keep their graph",
        "vaelib/elbo.py",
        swap("torch.softmax(log_w.detach(), 0)", "torch.softmax(log_w, 0)"),
        unit("elbo"),
        "test_surrogate_has_the_gradient",
    ),
    Bug(
        "elbo: the surrogate's weights are all alike",
        "vaelib/elbo.py",
        swap("(torch.softmax(log_w.detach(), 0) * log_w).sum(0)", "log_w.mean(0)"),
        unit("elbo"),
        "test_surrogate_has_the_gradient",
    ),
    Bug(
        "elbo: log K forgotten",
        "vaelib/elbo.py",
        swap("return log_mean_exp(log_w)", "return torch.logsumexp(log_w, 0)"),
        unit("elbo"),
        "test_importance_weighted_bound_by_hand",
    ),
    Bug(
        "latent: a constant added once per dimension",
        "vaelib/latent/gaussian.py",
        swap("return -0.5 * (pixels * math.log", "return -0.5 * pixels * (pixels * math.log"),
        unit("latent"),
        "test_evidence_equals_the_dense_joint",
    ),
    Bug(
        "latent: log K forgotten in log_mean_exp",
        "vaelib/latent/evidence.py",
        swap(
            "torch.logsumexp(log_w, dim) - math.log(log_w.shape[dim])",
            "torch.logsumexp(log_w, dim)",
        ),
        unit("latent_evidence"),
        "test_log_mean_exp_value_and_gradient",
    ),
    Bug(
        "latent: the proposal is not divided out",
        "vaelib/latent/evidence.py",
        swap("model.log_joint(x, z) - proposal.log_prob(z)", "model.log_joint(x, z)"),
        unit("latent_evidence"),
        "test_the_posterior_as_proposal_gives_the_evidence",
    ),
    Bug(
        "latent: responsibilities without the proportions",
        "vaelib/latent/mixture.py",
        swap("return self.proportion.log() + log_normal", "return log_normal"),
        unit("latent_mixture"),
        "test_joint_evidence_and_responsibilities_equal_scipy",
    ),
    Bug(
        "latent: a covariance around the origin instead of the mean",
        "vaelib/latent/mixture.py",
        swap(" - loc[:, :, None] * loc[:, None, :]", ""),
        unit("latent_mixture"),
        "test_em_step_equals_brute_force",
    ),
    Bug(
        "latent: EM for pPCA forgets the posterior's spread",
        "vaelib/latent/gaussian.py",
        swap("z.mT @ z + posterior.covariance_matrix.sum(0)", "z.mT @ z"),
        unit("latent_mixture"),
        "test_em_for_ppca_equals_tipping_and_bishop",
    ),
    Bug(
        "latent: a posterior that is not divided by the evidence",
        "vaelib/latent/discrete.py",
        swap("return joint / evidence", "return joint"),
        unit("latent_discrete"),
        "test_evidence_and_posteriors_by_bayes_formula",
    ),
    Bug(
        "evaluate: the mean in place of a sample",
        "vaelib/evaluate/encoder.py",
        swap("model.terms(batch, eps, *given)", "model.terms(batch, 0 * eps, *given)"),
        unit("evaluate"),
        "test_z_is_sampled_not_set_to_its_mean",
    ),
    Bug(
        "evaluate: more samples than asked for",
        "vaelib/evaluate/evidence.py",
        swap("size = min(at_once, samples - start)", "size = at_once"),
        unit("evaluate_evidence"),
        "test_",
    ),
    Bug(
        "evaluate: sums of weights that are not brought to one scale",
        "vaelib/evaluate/evidence.py",
        swap("first = first * before + w.sum(0)", "first = first + w.sum(0)"),
        unit("evaluate_evidence"),
        "test_",
    ),
    Bug(
        "evaluate: the rule that never warns",
        "vaelib/evaluate/proposal.py",
        swap("shortfall <= margin", "shortfall <= 100"),
        unit("evaluate_evidence"),
        "test_",
    ),
    Bug(
        "evaluate: the width of q taken for its mean",
        "vaelib/posterior.py",
        swap("return q.mean[None]", "return q.stddev[None]"),
        unit("evaluate"),
        "test_active_units",
    ),
    Bug(
        "evaluate: a grid around 0, whatever the prior",
        "vaelib/evaluate/grid.py",
        swap(
            "[_Window(prior.log_prob, prior.loc, prior.stddev.diag())]",
            "[_Window(prior.log_prob, 0 * prior.loc, prior.stddev.diag())]",
        ),
        unit("evaluate_grid::test_the_grid_is_where_the_prior_is[narrow]"),
        "assert",
    ),
    Bug(
        "evaluate: what lies outside of the grid left out of its error",
        "vaelib/evaluate/grid.py",
        swap(" + (found - fine)", ""),
        unit("evaluate_grid::test_what_no_box_encloses_is_said"),
        r"assert 100 < ",
    ),
    Bug(
        "evaluate: the parts' modes forgotten",
        "vaelib/nets/modules.py",
        swap("module.training = training", "module.training = modes[0][1]"),
        unit("evaluate::test_every_part_gets_its_own_mode_back"),
        "test_every_part_gets_its_own_mode_back",
    ),
    Bug(
        "nets: channels and levels mixed up",
        "vaelib/nets/conv.py",
        swap("(-1, self.levels)).movedim(2, -1)", "(self.levels, -1)).movedim(1, -1)"),
        unit("nets::test_the_numbers_of_a_value_stand_side_by_side"),
        "test_the_numbers_of_a_value_stand_side_by_side",
    ),
    Bug(
        "nets: an odd side's last row has no number of its own",
        "vaelib/nets/conv.py",
        swap("(after.height % 2, after.width % 2)", "(0, 0)"),
        unit("nets::test_every_value_of_a_picture_of_any_shape_counts"),
        "assert torch.Size",
    ),
    Bug(
        "nets: a decoder that ignores its condition",
        "vaelib/nets/conv.py",
        swap("joined(self, z, c)", "joined(self, z, None if c is None else 0 * c)"),
        unit("nets::test_a_condition_is_heard"),
        "test_a_condition_is_heard",
    ),
    Bug(
        "export: a batch of one size",
        "vaelib/export.py",
        swap("{0: batch} for _", "{} for _"),
        unit("export::test_torch_alone_says_the_same[bernoulli-mlp-0]"),
        "test_torch_alone_says_the_same",
    ),
    Bug(
        "export: the encoder is given x as it is",
        "vaelib/export.py",
        swap("x = self.likelihood.features(x)\n", "pass\n"),
        unit("export::test_torch_alone_says_the_same[poisson-conv-3]"),
        "test_torch_alone_says_the_same",
    ),
    Bug(
        "estimator: random_state does not reach the training",
        "vaelib/estimator.py",
        swap("seed=int(check_random_state(self.random_state).randint(2**31 - 1))", "seed=0"),
        unit("estimator::test_random_state"),
        "test_random_state",
    ),
    Bug(
        "prior: a fixed one is no part of the model",
        "vaelib/prior.py",
        swap(
            "self.register_buffer(name, tensor.clone())",
            "self.register_buffer(name, tensor.clone(), persistent=False)",
        ),
        unit("prior::test_a_fixed_prior_belongs_to_the_model"),
        "_prior.loc",
    ),
    Bug(
        "start: the half of the KL is missing in the open",
        "book/start.ipynb",
        swap("kl = 0.5 * (loc**2", "kl = (loc**2"),
        unit("start::test_the_loss_is_the_elbo_of_vaelib_and_of_quadrature"),
        r"Tensor-likes are not close",
    ),
    Bug(
        "start: the script needs what stands in a fold",
        "book/start.ipynb",
        swap("torch.optim.Adam(weights", "plots.optim.Adam(weights"),
        unit("start::test_a_reader_can_run_it_as_a_file_of_its_own"),
        r"name 'plots' is not defined",
    ),
    Bug(
        "start: a question leads to another section",
        "book/start.ipynb",
        swap("[why a half](reparam-half)", "[why a half](reparam-formula)"),
        unit("start::test_eight_questions_lead_to_where_they_are_answered"),
        r"reparam-formula",
    ),
    Bug(
        "start: gradients of earlier steps stay",
        "book/start.ipynb",
        swap('"            adam.zero_grad()', '"            adam.zero_grad'),
        unit("start::test_the_first_epoch_draws_the_opening_again"),
        r"assert .* < 0\.01",
    ),
    Bug(
        "course: a point without its cell",
        "book/vae.ipynb",
        notebook(lambda cells: drop_tag(cells, "point-vae-3")),
        unit("course"),
        r"no cell shows: the exact evidence",
    ),
    Bug(
        "course: a tag that is misspelt",
        "book/kl.ipynb",
        notebook(lambda cells: drop_tag(cells, "hide-cell", "hide-cel")),
        unit("course::test_no_cell_has_a_tag_that_nobody_knows"),
        r"test_no_cell_has_a_tag_that_nobody_knows\[kl\]",
    ),
    Bug(
        "course: a claim changed, and the README's table left",
        "book/kl.ipynb",
        notebook(lambda told: told["chapter"].update(claim="It is a distance."), "metadata"),
        unit("course"),
        "test_the_table_of_the_readme_is_not_stale",
    ),
    Bug(
        "course: running a chapter forgets what its metadata say",
        ".ci/notebooks.py",
        swap('KEPT_METADATA = {"chapter", "widgets"}', 'KEPT_METADATA = {"widgets"}'),
        NOTEBOOKS,
        r"test_what_is_stored_is_normalized\[kl\]",
    ),
    Bug(
        "course: a number that no cell has",
        "book/questions.md",
        swap("the rate and the ELBO hardly move.", "the rate and the ELBO move 12.34 nats."),
        unit("course"),
        r"test_each_number_of_the_prose_comes_from_a_cell\[questions\]",
    ),
    Bug(
        "glossary: a link past the section that has the term",
        "book/glossary.md",
        swap(
            "every time the image is used. [vae](vae-digits)",
            "every time the image is used. [vae](vae-autoencoder)",
        ),
        unit("course"),
        "test_a_term_is_explained_where_its_link_leads",
    ),
    Bug(
        "spelling: a word misspelt in a chapter",
        "book/vae.ipynb",
        swap("A mean is not a sample, and neither", "A mean is not a sampel, and neither"),
        ("spelling",),
        "sampel",
    ),
    Bug(
        "train: the order of the data never changes",
        "vaelib/train/batches.py",
        swap(
            "torch.randperm(n, generator=self.generator, device=device)",
            "torch.arange(n, device=device)",
        ),
        unit("train"),
        "test_each_image_once_per_epoch_in_a_new_order",
    ),
    Bug(
        "iwae: the doubly reparameterized gradient with the share, not its square",
        "vaelib/vae/iwae.py",
        swap("z = z.detach() + passed[..., None] * (z - z.detach())", "pass"),
        unit("iwae"),
        "test_",
    ),
    Bug(
        "prior: every component of a mixture weighs the same",
        "vaelib/prior.py",
        swap("return self.logits, DiagonalNormal", "return 0 * self.logits, DiagonalNormal"),
        unit("prior"),
        "test_",
    ),
    Bug(
        "two layers: the prior of the lower layer is forgotten",
        "vaelib/vae/two_layer.py",
        swap(
            "return self.first.log_prob(first) + self.then(first).log_prob(then)",
            "return self.first.log_prob(first)",
        ),
        unit("two_layer"),
        "test_",
    ),
    Bug(
        "evaluate: the noise of a mean over samples counts as activity",
        "vaelib/evaluate/encoder.py",
        swap(
            "return mean.var(0) - noise.mean(0) >",
            "return mean.var(0) >",
        ),
        unit("two_layer"),
        "test_units_of_both_layers",
    ),
    Bug(
        "evaluate: the distortion of two layers at another h1",
        "vaelib/vae/model.py",
        swap("z[..., : self._visible]", "z[..., -self._visible :]"),
        unit("two_layer"),
        "test_the_elbo_of_two_layers",
    ),
    Bug(
        "evaluate: a refined q that a report does not use",
        "vaelib/evaluate/table.py",
        swap("l_k(q=better)", "l_k()"),
        unit("evaluate_report"),
        "test_a_refined_q_has_rows",
    ),
    Bug(
        "evaluate: chunks that do not reach the estimate",
        "vaelib/evaluate/table.py",
        swap("            at_once=at_once,\n            batch_size=batch_size,\n", ""),
        unit("evaluate_report"),
        "test_chunks",
    ),
    Bug(
        "cli: a two-layer model that forgets --iwae",
        "vaelib/run/build.py",
        swap("samples=s.iwae or 1)", "samples=1)"),
        unit("main::test_two_layers_have_the_proportions_of_their_paper"),
        "test_two_layers",
    ),
    Bug(
        "cli: grey levels from a decoder for one number a pixel",
        "vaelib/run/build.py",
        swap("levels=its.width(values) // values,", "levels=1,"),
        unit("main::test_samples_and_means_are_those_of_the_model"),
        "test_samples_and_means",
    ),
    Bug(
        "likelihood: a grey pixel's slope at a logit of 0 is that of |logit|",
        "vaelib/pixels.py",
        swap(
            "-(down * value + up * (1 - value)) - log_mean_decay(up + down)",
            "-(down * value + up * (1 - value)) - log_mean_decay(self.logits.abs())",
        ),
        unit("likelihood::test_a_grey_pixels_density_slope_mean_and_variance_are_exact"),
        "slope_mean_and_variance_are_exact.0.0",
    ),
    Bug(
        "likelihood: a grey pixel's series used where it does not hold",
        "vaelib/pixels.py",
        swap("near = a < 0.5", "near = a < 5.0"),
        unit("likelihood::test_a_grey_pixels_density_integrates_to_one_at_every_logit"),
        "at_every_logit",
    ),
    Bug(
        "likelihood: squares of distances that cancel",
        "vaelib/likelihood/numbers.py",
        swap('raw.dtype if raw.device.type == "mps" else torch.float64', "raw.dtype"),
        unit("likelihood::test_all_pairs_in_single_precision"),
        "test_all_pairs_in_single_precision.Gaussian",
    ),
    Bug(
        "likelihood: the lowest level of a colour without all that lies below it, as in PixelCNN++",
        "vaelib/colour.py",
        swap("lowest, highest = level == 0,", "lowest, highest = level < 0,"),
        unit("likelihood_colour::test_the_levels_of_a_logistic_sum_to_one_in_single_precision"),
        "sum_to_one_in_single_precision",
    ),
    Bug(
        "likelihood: a level's probability as its middle's density times its width",
        "vaelib/colour.py",
        swap("between = log_mean_decay(width) + width.log()", "between = width.log()"),
        unit("likelihood_colour::test_each_level_has_the_probability_of_the_oracle"),
        "test_each_level_has_the_probability_of_the_oracle",
    ),
    Bug(
        "likelihood: a mixture of levels begins in the middle of the range, wherever the data are",
        "vaelib/likelihood/logistics.py",
        swap("self.shift.copy_(found.mean[0])", "pass"),
        unit("likelihood_colour::test_it_starts_where_the_data_are"),
        "test_it_starts_where_the_data_are",
    ),
    Bug(
        "nets: two convolutions begin with larger weights than torch's",
        "vaelib/nets/conv.py",
        swap("    if stages <= _SHALLOW:\n", "    if stages < _SHALLOW:\n"),
        unit("nets::test_the_weights_of_a_seed_are_those_of_the_recorded_runs"),
        "test_the_weights_of_a_seed_are_those_of_the_recorded_runs",
    ),
    Bug(
        "nets: a new decoder of colour hardly hears z, with the initial weights of torch",
        "vaelib/nets/conv.py",
        swap("    gain = 1.0\n", "    return layers\n"),
        unit("nets::test_a_new_decoder_hears_z_and_a_new_encoder_x_where_networks_are_deep"),
        "test_a_new_decoder_hears_z",
    ),
    Bug(
        "likelihood: a channel follows itself",
        "vaelib/colour.py",
        swap("before = by_channel[..., :c, :]", "before = by_channel[..., 1 : c + 1, :]"),
        unit("likelihood_colour::test_every_colour_of_a_pixel_sums_to_one"),
        "test_every_colour_of_a_pixel_sums_to_one",
    ),
    Bug(
        "likelihood: a learned scale without a floor",
        "vaelib/likelihood/numbers.py",
        swap("return torch.logaddexp(self.logvar, floor)", "return self.logvar + 0 * floor"),
        unit("likelihood_numbers::test_a_floor_that_is_reached_is_named"),
        "test_a_floor_that_is_reached_is_named",
    ),
    Bug(
        "likelihood: Student's t without the logarithm of its scale",
        "vaelib/real.py",
        swap("- (0.5 * self.logvar + self.factor.log())", "- self.factor.log()"),
        unit("likelihood_numbers::test_a_density_integrates_to_one_at_any_scale_and_at_the_floor"),
        "at_any_scale_and_at_the_floor.*StudentT",
    ),
    Bug(
        "likelihood: standardized numbers without their Jacobian",
        "vaelib/real.py",
        swap("- (0.5 * self.logvar + self.factor.log())", "- 0.5 * self.logvar"),
        unit("likelihood_numbers::test_metres_in_millimetres_cost_the_log_of_1000_a_column"),
        "metres_in_millimetres",
    ),
    Bug(
        "likelihood: a negative binomial by the odds of the other outcome",
        "vaelib/counts.py",
        swap("_log1p_exp(log_mu - log_r)", "_log1p_exp(log_r - log_mu)"),
        unit("likelihood_counts::test_probabilities_of_all_counts_sum_to_one"),
        "test_probabilities_of_all_counts_sum_to_one",
    ),
    Bug(
        "likelihood: a hole is filled after its log-probability, and the gradient is nan",
        "vaelib/likelihood/missing.py",
        swap(
            "each = self.likelihood.elementwise(filled(value), self.raw)",
            "each = self.likelihood.elementwise(value, self.raw)",
        ),
        unit("likelihood_missing::test_only_what_is_seen_counts_in_value_and_gradient"),
        "test_only_what_is_seen_counts_in_value_and_gradient",
    ),
    Bug(
        "likelihood: an empty cell is a measurement of 0",
        "vaelib/likelihood/missing.py",
        swap(
            "return torch.where(value.isnan(), 0.0, each).sum(-1)",
            "return each.sum(-1)",
        ),
        unit("likelihood_missing::test_only_what_is_seen_counts_in_value_and_gradient"),
        "test_only_what_is_seen_counts_in_value_and_gradient",
    ),
    Bug(
        "latent: the sample size as a difference of two large logarithms",
        "vaelib/latent/evidence.py",
        swap(
            "return w.sum(0).square() / w.square().sum(0)",
            "return torch.exp(2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0))",
        ),
        unit("latent_evidence::test_a_shift_of_log_weights_changes_neither_error_nor_sample_size"),
        "neither_error_nor_sample_size",
    ),
    Bug(
        "cli: what a hand wrote into settings.json is believed",
        "vaelib/run/option.py",
        swap("if found[name] != value:", "if False:"),
        unit("main::test_altered_settings_are_told_by_file_and_field"),
        "DID NOT RAISE",
    ),
    Bug(
        "run: what an older run had not is taken at its new default",
        "vaelib/run/option.py",
        swap("values.get(k, its.absent)", "values.get(k, its.default)"),
        unit("run::test_an_option_is_one_field"),
        "assert 0.1 == 0.0",
    ),
    Bug(
        "run: a class of ones own that is handed over is not the one that is made",
        "vaelib/run/fit.py",
        swap("words[family] = cls.__name__", "words.pop(family)"),
        unit("fit_own::test_a_class_of_ones_own_is_an_option"),
        "Doubled",
    ),
    Bug(
        "run: labels are those of the first class whatever is said",
        "vaelib/run/labels.py",
        swap("return list(classes).index(label)", "return 0"),
        unit("fit_own::test_a_label_is_a_number_or_a_name_for_all_or_for_each"),
        "test_a_label_is",
    ),
    Bug(
        "run: what is odd is what has much ink: the curve is left out",
        "vaelib/run/score.py",
        swap("return self.usual()(ink) - self.log_prob", "return -self.log_prob"),
        unit("fit_own::test_a_blank_is_no_longer_the_best"),
        "test_a_blank",
    ),
    Bug(
        "run: the parabola through the scores runs away beyond the data",
        "vaelib/run/odd.py",
        swap("TAIL = 0.01 ", "TAIL = 0.0 "),
        unit("fit_own::test_oddness_is_what_lies_below_the_curve"),
        "test_oddness",
    ),
    Bug(
        "run: what was seen is replaced by what the model thinks of it",
        "vaelib/run/trained.py",
        swap("return torch.where(mask, kept, filled)", "return filled"),
        unit("fit_own::test_from_file_to_trained_scored_sampled_encoded[labels]"),
        "torch.equal",
    ),
    Bug(
        "run: a run that begins with another's weights begins with its own",
        "vaelib/run/fit.py",
        swap("if ours.start is not None and not started:", "if False:"),
        unit("fit_own::test_a_run_begins_with_the_weights_of_another"),
        "test_a_run_begins",
    ),
    Bug(
        "run: bits are of all values, seen or not",
        "vaelib/likelihood/family.py",
        swap("(math.log(2) * (~x.isnan()).sum(-1))", "(math.log(2) * x.shape[-1])"),
        unit("fit_own::test_from_file_to_trained_scored_sampled_encoded[missing]"),
        "not close",
    ),
    Bug(
        "recipe: a class is imported because a file names it",
        "vaelib/recipe.py",
        swap(
            "theirs.get(own) if module else",
            "getattr(__import__(module), own, None) if module else",
        ),
        unit("recipe::test_what_a_file_names_is_not_imported"),
        "test_what_a_file_names_is_not_imported.a class",
    ),
    Bug(
        "recipe: a network of two owners is made twice",
        "vaelib/recipe.py",
        swap("if module in seen:", "if False:"),
        unit("recipe::test_a_shared_network_is_shared_again"),
        "test_a_shared_network",
    ),
    Bug(
        "cli: --quiet hides that inks became light",
        "vaelib/data/folder.py",
        swap('changes.append("inks', 'bool("inks'),
        unit("main::test_quiet_does_not_hide_what_was_done_to_the_images"),
        "test_quiet_does_not_hide",
    ),
    Bug(
        "cli: a code under the name of another picture",
        "vaelib/cli/runs.py",
        swap("data.names_of(source), str(source)", "data.names_of(source)[::-1], str(source)"),
        unit("main_own::test_a_row_of_a_table_is_of_the_picture_whose_name_it_has"),
        "test_a_row_of_a_table_is_of_the_picture",
    ),
    Bug(
        "cli: red and blue are exchanged on a sheet",
        "vaelib/cli/pictures.py",
        swap("levels.transpose(0, 2, 3, 1)", "levels[:, ::-1].transpose(0, 2, 3, 1)"),
        unit("main_own::test_channels_are_colours_and_what_is_missing_is_grey"),
        "test_channels_are_colours",
    ),
    Bug(
        "cli: a line of classes with another z for each",
        "vaelib/cli/commands/sample.py",
        swap("z.repeat_interleave(across, 0)", "z.repeat(across, 1)"),
        unit("main_own::test_a_label_by_name_or_number_and_without_one_a_line_for_each_z"),
        "test_a_label_by_name_or_number",
    ),
    Bug(
        "cli: the most usual data are shown as the oddest",
        "vaelib/cli/commands/score.py",
        swap("most = oddness.topk(", "most = (-oddness).topk("),
        unit("main_own::test_the_odd_ones_and_what_a_blank_one_scores"),
        "test_the_odd_ones",
    ),
    Bug(
        "cli: counts are cut off at 1, as pixels are",
        "vaelib/cli/results.py",
        swap("values = rows.to(torch.int64)", "values = rows.clamp(0, 1).to(torch.int64)"),
        unit("main_own::test_counts_are_drawn_whole_and_a_sheet_says_what_is_white"),
        "test_counts_are_drawn_whole",
    ),
    Bug(
        "cli: torch is imported where Ctrl-C is an exception",
        "vaelib/__main__.py",
        swap("signal.signal(signal.SIGINT, _stop)", "pass"),
        unit("main::test_ctrl_c_while_torch_is_imported"),
        "test_ctrl_c",
    ),
    Bug(
        "train: weights that are NaN are loaded",
        "vaelib/train/checkpoint.py",
        swap("if bad.numel():", "if bad.isinf().any():"),
        unit("main::test_a_checkpoint_that_lacks_something_though_its_hash_fits"),
        "test_a_checkpoint_that_lacks",
    ),
    Bug(
        "likelihood: grey levels without their normalizing constant",
        "vaelib/pixels.py",
        swap("return chosen - self.logits.logsumexp(-1)", "return chosen"),
        unit("likelihood"),
        "test_",
    ),
    Bug(
        "train: the KL's warm-up never ends",
        "vaelib/train/epochs.py",
        swap("warm_up(done / (self.warmup * self.per_epoch))", "warm_up(0.5)"),
        unit("train"),
        "test_the_kl_is_warmed_up_in_equal_steps",
    ),
    Bug(
        "train: a density of grey pixels learns from zeros and ones",
        "vaelib/train/feed.py",
        swap(
            "return likelihood.prepare, likelihood.binarization",
            'return partial(binarize, how="dynamic"), "dynamic"',
        ),
        unit("train::test_a_likelihood_of_grey_pixels_trains_and_is_measured_on_grey_pixels"),
        "test_a_likelihood_of_grey_pixels",
    ),
    Bug(
        "files: a name before its bytes",
        "vaelib/files.py",
        swap("            os.fsync(file)  # else", "            pass  # else"),
        unit("files"),
        "test_the_bytes_are_on_the_disk_before_the_name_is",
    ),
    Bug(
        "set-up: uv does not know of pip's links",
        ".ci/setup",
        swap('export UV_FIND_LINKS="$PIP_FIND_LINKS"', ":"),
        unit("setup"),
        "test_uv_is_told_what_pip_was_told",
    ),
    Bug(
        "tree: a module is not in CONTRIBUTING",
        "CONTRIBUTING.md",
        lambda text: re.sub(r"(?m)^ +kl/.*\n", "", text, count=1),
        unit("packaging::test_the_tree_in_contributing_is_that_of_the_package"),
        "make lint writes it",
    ),
    Bug(
        "stand-ins: a tape does not see what runs",
        "tests/stand_ins.py",
        swap("        self.kernels.append((kernel, *places))\n", ""),
        unit("stand_ins"),
        "test_a_tape_keeps_each_kernel",
    ),
    Bug(
        "train: two writers share the name of a part",
        "vaelib/files.py",
        swap(".{secrets.token_hex(8)}.part", ".part"),
        unit("train_lock::test_two_that_save_at_once_leave_whole_files"),
        "test_two_that_save_at_once",
    ),
    Bug(
        "train: labels stay where they are while rows are drawn",
        "vaelib/train/feed.py",
        swap("[self.labels[numbers]]", "[self.labels[: len(numbers)]]"),
        unit("train_rows::test_labels_go_with_their_rows"),
        "test_labels_go_with_their_rows",
    ),
    Bug(
        "train: units are taken anew from other data",
        "vaelib/train/feed.py",
        swap('bool(getattr(part, "measured", False))', "False"),
        unit("train_rows::test_other_data_go_on_from_the_weights_and_units_of_a_finished_run"),
        "test_other_data_go_on",
    ),
    Bug(
        "train: a look at a loader's first rows uses up its draws",
        "vaelib/train/loader.py",
        swap("        _restore(own, kept)\n", "        pass\n"),
        unit("train_rows::test_a_loader_in_the_same_order_ends_at_the_weights_of_the_tensor"),
        "test_a_loader_in_the_same_order",
    ),
    Bug(
        "train: a loader's own generator is not in the checkpoint",
        "vaelib/train/loader.py",
        swap("self.own[int(key)].set_state(state)", "pass"),
        unit("train_rows::test_a_loader_resumes_at_the_start_of_the_epoch_that_was_broken_off"),
        "test_a_loader_resumes",
    ),
    Bug(
        "train: the mean over batches is taken for one over rows",
        "vaelib/train/loader.py",
        swap("self.sizes[self.position] = len(parts[0])", "self.sizes[self.position] = 1"),
        unit(
            "train_rows::test_batches_may_be_a_list_of_arrays_or_pictures_and_weigh_by_their_rows"
        ),
        "test_batches_may_be",
    ),
    Bug(
        "train: a scheduler for epochs steps with each batch",
        "vaelib/train/torch_schedulers.py",
        swap('per_epoch if self.every == "epoch" else 1', "1"),
        unit("train_epoch::test_a_scheduler_of_torch_gives_the_rates_that_it_gives_by_hand"),
        r"test_a_scheduler_of_torch.*\[StepLR\]",
    ),
    Bug(
        "train: one rate for all groups of parameters",
        "vaelib/train/optimizer.py",
        swap('lr if group["lr"] is rate else float(group["lr"])', "lr"),
        unit("train_epoch::test_each_group_of_parameters_keeps_its_own_rate"),
        "test_each_group",
    ),
    Bug(
        "train: the terms are measured with dropout",
        "vaelib/train/measure.py",
        swap(
            "        with evaluation_mode(self.model):\n            terms",
            "        if True:\n            terms",
        ),
        unit("train_epoch"),
        "test_what_is_measured_does_not|test_it_is_measured_on_few",
    ),
    Bug(
        "train: a lock whose file was removed counts",
        "vaelib/train/lock.py",
        swap("if not _is(file, path):", "if False:"),
        unit("train_lock::test_a_lock_on_a_file_that_was_just_removed_does_not_count"),
        "test_a_lock_on_a_file",
    ),
    Bug(
        "train: a child keeps the lock of a parent that was killed",
        "vaelib/train/lock.py",
        swap('if hasattr(os, "register_at_fork"):', "if False:"),
        unit("train_lock::test_a_lock_goes_with_its_process_and_not_with_a_child_of_it"),
        "test_a_lock_goes_with_its_process",
    ),
    Bug(
        "train: load compares names and shapes only",
        "vaelib/train/checkpoint.py",
        swap("    _require_model(model, about, path)\n", ""),
        unit("train_resume::test_another_model_with_weights_of_the_same_shapes_is_refused"),
        "test_another_model_with_weights_of_the_same_shapes",
    ),
    Bug(
        "train: a schedule is known by its name",
        "vaelib/train/schedule.py",
        swap('if "; " not in its:', "if True:"),
        unit("train_resume::test_a_schedule_is_known_by_its_values"),
        "test_a_schedule_is_known_by_its_values",
    ),
    Bug(
        "train: validation wakes a part that was in eval()",
        "vaelib/nets/modules.py",
        swap("module.training = training", "module.training = True"),
        unit("train::test_a_part_that_is_in_eval_stays_so"),
        "test_a_part_that_is_in_eval",
    ),
    Bug(
        "train: float64 on the device",
        "vaelib/train/run.py",
        swap("losses.cpu().double()", "losses.double().cpu()"),
        unit("device::test_a_device_without_float64_trains"),
        "test_a_device_without_float64",
    ),
    Bug(
        "train: torch's libraries in a folder with a space",
        "vaelib/train/private.py",
        swap("shlex.quote(folder)", "folder"),
        unit("private::test_the_compiler_is_told_of_folders_with_a_space_in_their_name"),
        "test_the_compiler_is_told",
    ),
    Bug(
        "data: the last tenth is held out",
        "vaelib/data/own.py",
        swap(
            "np.random.RandomState(0).permutation(n) < held_out",
            "np.arange(n) >= n - held_out",
        ),
        unit("data_own::test_a_tenth_of_sorted_images_has_some_of_each_class"),
        "test_a_tenth_of_sorted_images",
    ),
    Bug(
        "train: a step whose loss is not finite changes the weights",
        "vaelib/train/private.py",
        swap("grad_scale=None, found_inf=failed", "grad_scale=None, found_inf=None"),
        unit("train"),
        "test_a_loss_that_is_not_finite_stops_with_the_step_and_the_weights_before_it",
    ),
    Bug(
        "trainer: an optimizer that is not fused steps along a loss that is not finite",
        "vaelib/train/trainer.py",
        swap("if self.refuses or not self.failed:", "if True:"),
        unit("trainer::test_a_step_whose_loss_is_not_finite_changes_nothing_nor_does_any_after_it"),
        r"nor_does_any_after_it\[RMSprop\]",
    ),
    Bug(
        "trainer: a loss looks as if its step had been done",
        "vaelib/train/trainer.py",
        swap("return loss + self.poison", "return loss"),
        unit("trainer::test_a_step_whose_loss_is_not_finite_changes_nothing_nor_does_any_after_it"),
        "nor_does_any_after_it",
    ),
    Bug(
        "trainer: an array is read as a whole for each batch",
        "vaelib/train/batches.py",
        swap("data[rows.numpy()]", "data[slice(None)][rows.numpy()]"),
        unit("trainer::test_of_a_mapped_array_the_rows_of_a_batch_are_read"),
        "test_of_a_mapped_array",
    ),
    Bug(
        "trainer: several processes cut pictures",
        "vaelib/train/team.py",
        swap("if batch[0].ndim != 2 or not fits:", "if not fits:"),
        unit("trainer::test_pictures_are_not_cut_by_a_team"),
        "test_pictures_are_not_cut",
    ),
    Bug(
        "train: patience is spent when a finished run goes on",
        "vaelib/train/run.py",
        swap("line.epoch - max(self.best_epoch, begun)", "line.epoch - self.best_epoch"),
        unit("train_resume::test_patience_counts_anew_and_the_best_of_all_stays_the_best"),
        "test_patience_counts_anew",
    ),
    Bug(
        "train: the KL in bfloat16",
        "vaelib/vae/protocol.py",
        swap(
            "tuple(t.to(given.dtype).reshape(*shape, -1) for t in said)",
            "tuple(t.reshape(*shape, -1) for t in said)",
        ),
        unit("train"),
        "test_in_bfloat16_the_networks_compute_and_the_elbo_is_in_float32",
    ),
    Bug(
        "train: bfloat16 on a processor without it",
        "vaelib/train/step.py",
        swap('if precision == "bfloat16" and not _has_bfloat16(device):', "if False:"),
        unit("train"),
        "test_what_the_machine_cannot_do_is_refused",
    ),
    Bug(
        "train: a run that goes on begins its epoch anew",
        "vaelib/train/batches.py",
        swap("order()[self.position :]", "order()"),
        unit("train_resume::test_killed_at_random_moments_it_ends_as_if_left_alone"),
        "test_killed_at_random_moments",
    ),
    Bug(
        "train: Adam's moments are forgotten",
        "vaelib/train/state.py",
        swap('{"state": moments,', '{"state": {},'),
        unit("train_resume::test_an_interrupted_run_goes_on"),
        "test_an_interrupted_run_goes_on",
    ),
    Bug(
        "train: torch's own generator is forgotten",
        "vaelib/train/state.py",
        swap('    torch.set_rng_state(states["cpu"])\n', ""),
        unit("train_resume::test_killed_at_random_moments_it_ends_as_if_left_alone"),
        "test_killed_at_random_moments",
    ),
    Bug(
        "train: several processes weigh uneven shares alike",
        "vaelib/train/trainer.py",
        swap("loss = loss * (self.team.size * len(share[0]) / len(batch[0]))", "pass"),
        unit("train_team"),
        "test_the_result_is_that_of_one_process",
    ),
    Bug(
        "shards: noise without the epoch in its key",
        "vaelib/train/shards.py",
        swap("stream(opened.seed, batches.epoch, shard", "stream(opened.seed, 0, shard"),
        unit("train_shards::test_pixels_and_noise_are_those_of_seed_epoch_and_shard"),
        "test_pixels_and_noise",
    ),
    Bug(
        "shards: keys are added, not hashed",
        "vaelib/train/shards.py",
        swap('f"{seed}, {epoch}, {shard}, {step}"', 'f"{seed + epoch + shard + step}"'),
        unit("train_shards::test_no_two_streams_are_alike"),
        "test_no_two_streams",
    ),
    Bug(
        "shards: each process reads all of them",
        "vaelib/train/shards.py",
        swap("range(team.rank, count, team.size)", "range(count)"),
        unit("train_shards::test_a_process_reads_its_own_shards_and_no_others"),
        "cannot read the shard .*nowhere",
    ),
    Bug(
        "shards: a mean over processes of unequal rows",
        "vaelib/train/shards.py",
        swap("if look.rows != first.rows:", "if False:"),
        unit("train_shards::test_what_does_not_fit_together_is_refused_with_what_to_do"),
        "test_what_does_not_fit_together",
    ),
    Bug(
        "shards: a process that fails does not tell the others",
        "vaelib/train/shards.py",
        swap("except Exception as failed:", "except ValueError as failed:"),
        unit("train_shards::test_what_cannot_be_shared_is_refused_in_both_before_anything_is_done"),
        "test_what_cannot_be_shared",
    ),
    Bug(
        "shards: a run that goes on counts its epochs anew",
        "vaelib/train/run.py",
        swap("self.batches.epoch = done", "pass"),
        unit("train_shards::test_a_run_that_was_broken_off_goes_on_bit_for_bit"),
        "test_a_run_that_was_broken_off",
    ),
    Bug(
        "shards: a process trains on a share of its share",
        "vaelib/train/trainer.py",
        swap("self.team.share(batch) if self.whole else batch", "self.team.share(batch)"),
        unit("train_shards::test_after_32_steps_two_processes_are_where_one_is"),
        "test_after_32_steps",
    ),
    Bug(
        "train: each process draws its own batches",
        "vaelib/train/trainer.py",
        swap("generator.set_state(self.team.agree(generator.get_state()))", "pass"),
        unit("train_team"),
        "test_the_result_is_that_of_one_process",
    ),
    Bug(
        "train: a checkpoint is written over the last one",
        "vaelib/files.py",
        swap(
            'part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")',
            "part = path\n    part.unlink(missing_ok=True)",
        ),
        unit("train_resume::test_a_full_disk_leaves_the_last_good_checkpoint"),
        "test_a_full_disk",
    ),
    Bug(
        "train: the hash of a checkpoint is not compared",
        "vaelib/train/checkpoint.py",
        swap('if metadata.get("sha256") != ', "if not "),
        unit("train_resume::test_every_altered_byte_is_noticed"),
        "test_every_altered_byte",
    ),
    Bug(
        "train: a model that does not fit is loaded by half",
        "vaelib/train/checkpoint.py",
        swap("if there.get(name) != here.get(name):", "if False:"),
        unit("train_resume::test_another_model_is_named_by_its_first_difference"),
        "test_another_model",
    ),
    Bug(
        "graph: each step has the images of the one that was recorded",
        "vaelib/train/graph.py",
        swap("place.copy_(t)", "pass"),
        unit("device::test_a_step_as_one_graph_does_what_the_step_does"),
        "test_a_step_as_one_graph",
    ),
    Bug(
        "graph: the learning rate stays as it was recorded",
        "vaelib/train/trainer.py",
        swap('group["lr"].fill_(rate)', 'group["lr"] = rate'),
        unit("device::test_a_step_as_one_graph_does_what_the_step_does"),
        "test_a_step_as_one_graph",
    ),
    Bug(
        "graph: Adam asks the processor for its step",
        "vaelib/train/optimizer.py",
        swap("capturable=graph", "capturable=False"),
        unit("device::test_a_step_as_one_graph_does_what_the_step_does"),
        "Adam as it is reads numbers on the processor",
    ),
    Bug(
        "graph: recording a step trains",
        "vaelib/train/trainer.py",
        swap("self.poison.fill_(torch.nan)", "self.poison.fill_(0)"),
        unit("device::test_recording_a_step_leaves_no_trace"),
        "test_recording_a_step",
    ),
    Bug(
        "graph: the KL's warm-up is another tensor at each step",
        "vaelib/vae/vae.py",
        swap("self.kl_warmup.fill_(weight)", "self.kl_warmup.set_(torch.tensor(weight))"),
        unit("device::test_a_step_as_one_graph_does_what_the_step_does"),
        "test_a_step_as_one_graph",
    ),
    Bug(
        "device: noise is made on the CPU",
        "vaelib/vae/vae.py",
        swap("self._zeros.new_empty(*shape, n, size)", "torch.empty(*shape, n, size)"),
        unit("device::test_no_tensor_is_made_elsewhere_and_no_number_read_in_a_step"),
        "two devices",
    ),
    Bug(
        "own data: red, green and blue side by side in each pixel",
        "vaelib/data/folder.py",
        swap("a.transpose(2, 0, 1)", "a.reshape(3, height, width)"),
        unit("data_own::test_colour_stays_colour"),
        "test_colour_stays_colour",
    ),
    Bug(
        "own data: train and test are classes",
        "vaelib/data/folder.py",
        swap("return train[0], test[0]", "return None"),
        unit("data_own::test_folders_of_training_and_test_pictures"),
        "test_folders_of_training_and_test_pictures",
    ),
    Bug(
        "own data: class 10 before class 2",
        "vaelib/data/own.py",
        swap("(int(name) if whole else 0, name)", "name"),
        unit("data_arrays::test_labels_of_arrays"),
        "test_labels_of_arrays",
    ),
    Bug(
        "own data: labels stay where they are when rows are held out",
        "vaelib/data/own.py",
        swap(
            "[name for name, take in zip(labels, chosen, strict=True) if take]",
            "labels[: int(chosen.sum())]",
        ),
        unit("data_arrays::test_labels_of_arrays"),
        "test_labels_of_arrays",
    ),
    Bug(
        "own data: an empty cell is a measurement of 0",
        "vaelib/data/table.py",
        swap("return math.nan", "return 0.0"),
        unit("data_table::test_empty_cells_are_missing_and_not_zero"),
        "test_empty_cells_are_missing",
    ),
    Bug(
        "own data: the lines' numbers are a measurement",
        "vaelib/data/table.py",
        swap("del columns[name]", "pass"),
        unit("data_table::test_dialects"),
        "test_dialects",
    ),
    Bug(
        "own data: columns by their places, whatever they are called",
        "vaelib/data/table.py",
        swap("if header and set(wanted) <= set(columns):", "if False:"),
        unit("data_same::test_columns_are_found_by_their_names"),
        "test_columns_are_found_by_their_names",
    ),
    Bug(
        "own data: a file that is larger than memory is read whole",
        "vaelib/data/rows.py",
        swap("np.asarray(array.array if within", "np.array(array.array if within"),
        unit("data_arrays::test_mapped_rows_are_read_when_they_are_asked_for"),
        "test_mapped_rows_are_read_when",
    ),
    Bug(
        "own data: seconds since 1970 are rounded to two minutes without a word",
        "vaelib/data/values.py",
        swap("changes.extend(_rounded(found, layout))", "pass"),
        unit("data_arrays::test_a_large_constant_costs_digits_and_is_told"),
        "test_a_large_constant_costs_digits",
    ),
    Bug(
        "own data: pixels for a model of numbers in [0, 1]",
        "vaelib/data/same.py",
        swap("if rows.dtype == np.uint8 and isinstance(layout, Pictures):", "if False:"),
        unit("data_same::test_values_of_another_kind_are_refused"),
        "test_values_of_another_kind_are_refused",
    ),
    Bug(
        "own data: the noise of painted digits wraps around",
        "vaelib/data/examples.py",
        swap("LOW, HIGH = 16, 232", "LOW, HIGH = 16, 255"),
        unit("data_examples::test_the_noise_of_painted_digits_has_three_bits_of_entropy"),
        "test_the_noise_of_painted_digits",
    ),
    Bug(
        "own data: holes where values are large",
        "vaelib/data/examples.py",
        swap(
            "lost = torch.rand(table.shape, generator=generator) < share",
            "lost = table.argsort(0).argsort(0) >= (1 - share) * len(table)",
        ),
        unit("data_examples::test_holes_are_anywhere"),
        "test_holes_are_anywhere",
    ),
    Bug(
        "data: test images in the training set",
        "vaelib/data/named.py",
        swap("test = images.split(sizes)", "test = images[:8500], *images.split(sizes)[1:]"),
        unit("data"),
        "test_digits_are_the_bundled_ones|test_no_image_is_in_both_parts",
    ),
    Bug(
        "range test: the model itself is trained",
        "vaelib/train/range_test.py",
        swap("model = copy.deepcopy(model)", "model = copy.copy(model)"),
        unit("range_test"),
        "test_nothing_is_moved",
    ),
    Bug(
        "range test: a mean over the past, which lags behind",
        "vaelib/train/range_test.py",
        swap("raw[number - reach : number + reach + 1]", "raw[number - 2 * reach : number + 1]"),
        unit("range_test"),
        "test_the_losses_are_those_of_a_loop_by_hand",
    ),
    Bug(
        "recipe: an old run becomes today's network",
        "vaelib/recipe.py",
        swap('getattr(cls, "absent_in_recipes", {}) | arguments', "arguments"),
        unit("nets::test_an_older_recipe_makes_the_network_that_it_was"),
        "test_an_older_recipe",
    ),
    Bug(
        "scoreboard: the test images choose",
        "benchmarks/rows.py",
        swap(
            "        validation=images.validation,\n        patience",
            "        validation=images.test,\n        patience",
        ),
        unit("scoreboard"),
        "test_the_test_images_choose_nothing",
    ),
    Bug(
        "scoreboard: a difference of one seed is a result",
        "benchmarks/scoreboard.py",
        swap("    if not freedom:\n        return None\n    if abs", "    if abs"),
        unit("scoreboard"),
        "test_one_seed_says_nothing",
    ),
    Bug(
        "data: what chooses is taken from the test images",
        "vaelib/data/named.py",
        swap(
            "sizes = (_LEARN - validation, validation, len(images) - _LEARN)",
            "sizes = (_LEARN, validation, len(images) - _LEARN - validation)",
        ),
        unit("data"),
        "test_what_chooses_comes_from_what_learns",
    ),
    Bug(
        "imports: a backward import",
        "vaelib/kl/closed.py",
        swap("import torch\n", "import torch\n\nimport vaelib.vae\n"),
        ("imports",),
        r"vaelib\.kl\.closed -> vaelib\.vae",
    ),
    Bug(
        "imports: a module without a layer",
        "vaelib/helpers.py",
        lambda _: '"""A module that no layer lists."""\n',
        ("imports",),
        "helpers",
    ),
    Bug(
        "mypy: a wrong type",
        "vaelib/train/run.py",
        swap(
            "(self.losses.cpu().double() @ sizes).item() / sizes.sum().item()",
            "str(self.losses)",
        ),
        ("mypy",),
        "incompatible type",
    ),
    *(
        Bug(
            f"{chapter}: one digit of a stored output altered",
            f"book/{chapter}",
            notebook(alter_a_digit),
            ("nbval", "--paths", f"book/{chapter}"),
            r"mismatch|NbCellError|Error",
        )
        for chapter in CHAPTERS
    ),
    *(
        Bug(
            f"{chapter}: one digit of a table altered",
            f"book/{chapter}",
            notebook(partial(alter_a_digit, table=True)),
            ("nbval", "--paths", f"book/{chapter}"),
            r"mismatch 'text/html'",
        )
        for chapter in CHAPTERS
        # The tables of these show what was trained, and are not compared.
        if chapter not in {"start.ipynb", "vae.ipynb"}
    ),
    *(
        Bug(
            f"{chapter}: {name}",
            f"book/{chapter}",
            notebook(change),
            unit("page"),
            rf"{test}\w*\[{chapter.removesuffix('.ipynb')}\]",
        )
        for chapter in CHAPTERS
        for name, change, test in (
            ("a check is deleted", delete_a_check, "test_minutes_and_number_of_checks"),
            ("a check's line tells another number", belie_a_check, "test_each_number_of_a_check"),
            ("a check stands in the open", open_a_check, "test_assertions_stand_in_folded_cells"),
        )
    ),
    *(
        Bug(
            f"{chapter}: a cell that was not run",
            f"book/{chapter}",
            notebook(forget_to_run),
            NOTEBOOKS,
            "test_every_cell_was_run_in_order",
        )
        for chapter in CHAPTERS
    ),
    *(
        Bug(
            f"{chapter}: a picture without alternative text",
            f"book/{chapter}",
            notebook(drop_alt_text),
            NOTEBOOKS,
            "test_every_picture_has_words_of_its_own",
        )
        for chapter in CHAPTERS
    ),
    Bug(
        "site: a picture without alternative text",
        "book/vae.ipynb",
        notebook(drop_alt_text),
        SITE,
        r"no alternative text",
    ),
    Bug(
        "site: a request to another host",
        "book/index.md",
        lambda text: text + '\n<img src="https://example.org/dot.png" alt="A dot.">\n',
        SITE,
        r"foreign.*example\.org|example\.org",
    ),
    Bug(
        "site: a link to nowhere",
        "book/index.md",
        lambda text: text + "\n[a chapter that does not exist](nowhere.md)\n",
        ("book",),
        "nowhere",
    ),
    # the front page
    Bug(
        "front: a fact counts chapters with exercises, not exercises",
        "book/_ext/tables.py",
        swap("sum(len(chapter.exercises) for", "sum(bool(chapter.exercises) for"),
        unit("site_extensions"),
        "test_facts_cards_and_path_are_those_of_the_chapters",
    ),
    Bug(
        "front: a chapter without its card",
        "book/_ext/tables.py",
        swap(
            "told = []\n    for chapter in chapters.chapters():",
            "told = []\n    for chapter in chapters.chapters()[1:]:",
        ),
        unit("site_extensions"),
        "test_facts_cards_and_path_are_those_of_the_chapters",
    ),
    Bug(
        "front: a page that is not read again loses its figure",
        "book/_ext/figures.py",
        swap("shutil.copy(path, target)", "shutil.move(path, target)"),
        unit("site_extensions"),
        "test_files_of_figures_wait_for_the_site",
    ),
    Bug(
        "front: the README shows a figure that has changed since",
        "vaelib/course/results/playground.json",
        lambda text: re.sub(r'"tiles": "[0-9a-f]{2000}', lambda at: at[0][:10] + "f" * 2000, text),
        unit("course::test_the_picture_of_the_readme_is_the_figure_of_the_front_page"),
        "make readme",
    ),
    # interactive figures
    Bug(
        "figures: a factor in the page's KL",
        "vaelib/course/figures/two_gaussians.js",
        swap("/ (2 * width ** 2) - 0.5", "/ width ** 2 - 0.5"),
        ("site", "--paths", "tests/browser/test_two_gaussians.py"),
        "test_both_divergences_are_vaelibs",
    ),
    Bug(
        "figures: a cup's score divides by σ, not by its square",
        "vaelib/course/figures/reparameterize.js",
        swap("((x - loc) / scale ** 2)", "((x - loc) / scale)"),
        ("site", "--paths", "tests/browser/test_reparameterize.py"),
        "test_estimates_and_their_moments_are_vaelibs",
    ),
    Bug(
        "figures: an order below zero loses its sign in the equation",
        "vaelib/course/figures/reparameterize.js",
        swap("const less = (v) => (v < 0 ?", "const less = (v) => (v > 99 ?"),
        ("site", "--paths", "tests/browser/test_reparameterize.py"),
        "test_the_task_of_the_page",
    ),
    Bug(
        "figures: float16 is read wrongly",
        "vaelib/course/figures/network.js",
        swap("2 ** (exponent - 15)", "2 ** (exponent - 14)"),
        ("site", "--paths", "tests/browser/test_network.py"),
        "test_encoder_and_decoder",
    ),
    Bug(
        "figures: numbers that do not add up as they are shown",
        "vaelib/course/figures/draw_digit.js",
        swap("{ pixels: elbo + cost, ", "{ pixels: reconstruction, "),
        ("site", "--paths", "tests/browser/test_network.py"),
        "test_the_numbers_that_are_shown_add_up",
    ),
    Bug(
        "figures: labels of classes over each other",
        "vaelib/course/figures/network.js",
        swap("const push = (least - far) / 2 + 0.01;", "const push = 0;"),
        ("site", "--paths", "tests/browser/test_latent_plane.py"),
        "test_labels_stand_apart",
    ),
    Bug(
        "figures: a click in the plane goes nowhere",
        "vaelib/course/figures/latent_plane.js",
        swap('addEventListener("click"', 'addEventListener("dblclick"'),
        ("site", "--paths", "tests/browser/test_latent_plane.py"),
        "test_a_click_moves_z_there",
    ),
    Bug(
        "figures: a finger's drag is left to scrolling",
        "vaelib/course/figures/figure.js",
        swap("if (event.cancelable) event.preventDefault();", ""),
        ("site", "--paths", "tests/browser/test_touch.py"),
        "pointercancel",
    ),
    Bug(
        "figures: an area is cut at the end of its axis",
        "vaelib/course/figures/two_gaussians.js",
        swap("Math.max(high, low / 2)] };", "1.4] };"),
        ("site", "--paths", "tests/browser/test_two_gaussians.py"),
        "test_the_area_that_is_shown_is_the_kl",
    ),
    Bug(
        "figures: a slider without a label",
        "vaelib/course/figures/figure.js",
        swap('append(figure.sliders, "label", {', 'append(figure.sliders, "div", {'),
        ("site", "--paths", "tests/browser/test_interaction.py"),
        "label: ",
    ),
    Bug(
        "figures: each is drawn twice",
        "book/_static/figures.js",
        swap("  place.append(el);", "  place.append(el.cloneNode(true), el);"),
        ("site", "--paths", "tests/browser/test_interaction.py"),
        "test_a_figure_on_a_desktop",
    ),
    Bug(
        "playground: the ½ of the KL is missing in its gradient",
        "vaelib/course/figures/learning.js",
        swap("(beta / count) * 0.5 * (variance - 1)", "(beta / count) * (variance - 1)"),
        playground("gradients_are_those_of_autograd"),
        "test_gradients_are_those_of_autograd",
    ),
    Bug(
        "playground: the pixels' part has the wrong sign",
        "vaelib/course/figures/learning.js",
        swap("- x[k * PIXELS + i]);", "+ x[k * PIXELS + i]);"),
        playground("gradients_are_those_of_autograd"),
        "test_gradients_are_those_of_autograd",
    ),
    Bug(
        "playground: Adam's ε stands inside the root",
        "vaelib/course/figures/learning.js",
        swap("(Math.sqrt(square[i] / sharp) + epsilon)", "Math.sqrt(square[i] / sharp + epsilon)"),
        playground("twenty_steps_are_those_of_torchs_adam"),
        "test_twenty_steps_are_those_of_torchs_adam",
    ),
    Bug(
        "playground: the noise is drawn once and used again",
        "vaelib/course/figures/learning.js",
        swap(
            "eps: normals(2 * BATCH, state.uniform) };",
            "eps: state.eps ??= normals(2 * BATCH, state.uniform) };",
        ),
        playground("pixels_and_noise_are_drawn_anew_for_each_batch"),
        "test_pixels_and_noise_are_drawn_anew_for_each_batch",
    ),
    Bug(
        "playground: the sum for log p(x) stops where the prior does",
        "vaelib/course/figures/learning.js",
        swap("if (beyond && reach < 14)", "if (false)"),
        playground("without_the_kl"),
        "test_without_the_kl",
    ),
    Bug(
        "playground: a posterior narrower than a cell is summed over cells as wide as the others",
        "vaelib/course/figures/learning.js",
        swap("if (!(wrong > SHARP) || area < FINEST) return", "return"),
        playground("log_p_is_exact"),
        "test_log_p_is_exact",
    ),
    Bug(
        "playground: what is trained is drawn as the ELBO",
        "vaelib/course/figures/playground_worker.js",
        swap("const elbos = q.fit.map(", "const elbos = used.fit.map("),
        playground("without_the_noise"),
        "test_without_the_noise",
    ),
    Bug(
        "playground: it learns where nobody looks",
        "vaelib/course/figures/playground.js",
        swap('state === "running" && seen && !document.hidden', 'state === "running"'),
        playground("pause_reset_and_off_screen"),
        "test_pause_reset_and_off_screen",
    ),
    Bug(
        "playground: the images are fetched with the page",
        "vaelib/course/figures/playground.js",
        swap(
            "  const poster = unfolded",
            '  const early = model.get("pixels").replace("IPY_MODEL_", "");\n'
            "  await model.widget_manager.get_model(early);\n  const poster = unfolded",
        ),
        playground("it_starts_when_asked_and_not_before"),
        "test_it_starts_when_asked_and_not_before",
    ),
    Bug(
        "dashboard: curves that are covered go on behind it",
        "vaelib/course/figures/dashboard.js",
        swap(
            "const points = seen.filter((e) => of(e) !== null);\n      const",
            "const points = chosen().history.filter((e) => of(e) !== null);\n      const",
        ),
        ("site", "--paths", "tests/browser/test_dashboard.py"),
        "test_what_is_covered_is_not_in_the_page",
    ),
    Bug(
        "dashboard: nats lost against the last epoch, though another was better",
        "vaelib/course/figures/dashboard.js",
        swap("lost: bound(best) - bound(now)", "lost: bound(last) - bound(now)"),
        ("site", "--paths", "tests/browser/test_dashboard.py"),
        "test_values_are_the_records",
    ),
    Bug(
        "dashboard: the norm of a step is that of its last parameter",
        "benchmarks/dashboard.py",
        swap("self.norms.append(torch.stack(parts).norm())", "self.norms.append(parts[-1])"),
        unit("dashboard_record::test_the_norm_of_a_step_is_its_gradients"),
        "test_the_norm_of_a_step",
    ),
    Bug(
        "dashboard: who watches draws from the training's own randomness",
        "benchmarks/dashboard.py",
        swap(
            "_, z = model.sample(SIDE**2, generator=torch.Generator().manual_seed(SEED))",
            "_, z = model.sample(SIDE**2)",
        ),
        unit("dashboard_record::test_watching_changes_nothing"),
        "test_watching_changes_nothing",
    ),
    Bug(
        "figures: a fetch that failed is never tried again",
        "book/_static/figures.js",
        swap("    model.catch(() => models.delete(name));  // another try may find it\n", ""),
        playground("what_goes_wrong_is_said"),
        "test_what_goes_wrong_is_said",
    ),
    Bug(
        "figures: a notebook keeps an old script",
        "book/kl.ipynb",
        lambda text: text.replace("one redraw per frame", "a redraw per change", 1),
        NOTEBOOKS,
        "test_stored_figures_are_those_of_the_package",
    ),
    # the exercises' checks, the learner's copies, the grading
    Bug(
        "checks: a gradient is not compared",
        "vaelib/course/checks/diagnosis.py",
        swap("if all(values) and all(slopes):\n        return", "if all(values):\n        return"),
        unit("checks::test_wrong_answers_are_rejected_and_named"),
        r"accepts .*(detached|frozen|without_grad)",
    ),
    Bug(
        "checks: lost digits count against the answer",
        "vaelib/course/checks/agreement.py",
        swap("    if moves is not None:", "    if False:"),
        unit("checks::test_a_seed_at_which_a_right_answer_was_refused"),
        "right in float64, but not in float32",
    ),
    Bug(
        "checks: float32 is not asked",
        "vaelib/course/checks/exercise.py",
        swap(
            "TOLERANCES = {torch.float64: 3e-7, torch.float32: 2e-4}",
            "TOLERANCES = {torch.float64: 1e-8}",
        ),
        unit("checks::test_wrong_answers_are_rejected_and_named"),
        r"accepts ",
    ),
    Bug(
        "checks: a changed chunk is called by a name that nobody knows",
        "vaelib/course/checks/train.py",
        swap("if not torch.equal(self.log_w, self.untouched):", "if False:"),
        unit("checks::test_wrong_answers_are_rejected_and_named[streamed_log_mean]"),
        "shifted_in_place at seed 0: .*its argument log_w",
    ),
    Bug(
        "checks: whoever keeps the first chunk is refused",
        "vaelib/course/checks/train.py",
        swap("if len(kept) > 1:", "if len(kept) > 0:"),
        unit("checks::test_right_answers_are_accepted[streamed_log_mean]"),
        "first_kept at seed 0",
    ),
    Bug(
        "checks: deviations from the median look like a variance",
        "vaelib/course/checks/train.py",
        swap(
            '"two groups": (0.75, 0.0, 1.0, "fewer than half apart")',
            '"two groups": (0.75, 0.0, 1.0, "everywhere")',
        ),
        unit("checks::test_wrong_answers_are_rejected_and_named[active_latents]"),
        "centred_on_the_median",
    ),
    Bug(
        "checks: an ε in a scale goes unseen",
        "vaelib/course/checks/reparam.py",
        swap('"eps": draw.normal(5, 2, 6, 4, scale=1e5)', '"eps": draw.normal(5, 2, 6, 4)'),
        unit("checks::test_wrong_answers_are_rejected_and_named[sample_from_noise]"),
        "accepts noise_with_a_smaller_floor",
    ),
    Bug(
        "checks: the truth forgets the sum over latents",
        "vaelib/course/checks/kl.py",
        swap(
            "return kl_divergence(Normal(loc, logvar.exp().sqrt()), prior).sum(-1)",
            "return kl_divergence(Normal(loc, logvar.exp().sqrt()), prior).mean(-1)",
        ),
        unit("checks"),
        r"textbook at seed 0",
    ),
    Bug(
        "checks: a mistake is named after another",
        "vaelib/course/checks/kl.py",
        swap('"the ½ in front is missing": lambda m, v:', '"loc is missing": lambda m, v:'),
        unit("checks"),
        r"half_forgotten",
    ),
    Bug(
        "capstone: a gradient is not looked at",
        "vaelib/course/checks/build_one/loss.py",
        swap("if any(alike(got, right) for right in rights):", "if True:"),
        unit("capstone::test_a_fault_is_refused_and_named[Detached]"),
        "Detached at seed 0",
    ),
    Bug(
        "capstone: pixels that are drawn once and for all go unseen",
        "vaelib/course/checks/build_one/batch.py",
        swap("if torch.equal(first, second):", "if False:"),
        unit("capstone::test_a_fault_is_refused_and_named[Once]"),
        "Once is accepted|Once at seed 0",
    ),
    Bug(
        "capstone: an evaluation is believed",
        "vaelib/course/checks/build_one/training.py",
        swap("if abs(value - bound) > 3:", "if False:"),
        unit("capstone::test_a_fault_is_refused_and_named[TellsLate]"),
        "TellsLate is accepted",
    ),
    Bug(
        "capstone: a stage may be left out",
        "vaelib/course/checks/capstone.py",
        swap("if len(said) < len(self.stages):", "if False:"),
        unit("capstone::test_stages_that_are_left_out_are_missed"),
        "DID NOT RAISE",
    ),
    Bug(
        "checks: a changed argument is not looked for",
        "vaelib/course/checks/exercise.py",
        swap("if not torch.equal(v, before[k])]", "if False]"),
        unit("checks::test_a_changed_argument_is_named"),
        "your function changed its argument",
    ),
    Bug(
        "checks: a changed state is left as it is",
        "vaelib/course/checks/exercise.py",
        swap("        torch.set_default_dtype(default)\n", "        pass\n"),
        unit("checks::test_a_changed_state_is_named_and_put_back"),
        "torch.float16",
    ),
    Bug(
        "checks: no batch of one is drawn",
        "vaelib/course/checks/kl.py",
        swap(
            "for shape in ((4, 3), (1, 5), (2, 6, 4), (9,)):",
            "for shape in ((4, 3), (7, 5), (2, 6, 4), (9,)):",
        ),
        unit("checks::test_a_squeezed_result_is_refused[kl_to_prior]"),
        "it is accepted",
    ),
    Bug(
        "checks: all of p lies on the grid",
        "vaelib/course/checks/kl.py",
        swap("draw.uniform(low=14, high=16), 1.0)", "draw.uniform(low=-4, high=4), 1.0)"),
        unit("checks::test_wrong_answers_are_rejected_and_named[reverse_objective]"),
        "accepts reverse_normalized_again",
    ),
    Bug(
        "checks: an estimate is never negative",
        "vaelib/course/checks/kl.py",
        swap("torch.tensor([0.1, -0.1])", "torch.tensor([0.1, 0.1])"),
        unit("checks::test_wrong_answers_are_rejected_and_named[kl_with_error]"),
        "kl_with_error",
    ),
    Bug(
        "checks: a chunk may be kept",
        "vaelib/course/checks/train.py",
        swap("if len(kept) > 1:", "if False:"),
        unit("checks::test_wrong_answers_are_rejected_and_named[streamed_log_mean]"),
        r"accepts twice_through_a_list|stacked at seed 0",
    ),
    Bug(
        "checks: the truth computes σ in bfloat16",
        "vaelib/course/checks/train.py",
        swap("logvar.exp().sqrt())", "logvar.bfloat16().exp().double().sqrt())"),
        unit("checks"),
        r"cast_to_x at seed 0",
    ),
    Bug(
        "checks: an ELBO with ten draws is L_10",
        "vaelib/course/checks/train.py",
        swap(
            'return 1 if report["bound"] == "ELBO" else report["samples"]',
            'return report["samples"]',
        ),
        unit("checks::test_right_answers_are_accepted[comparable]"),
        "by_first_seen at seed 0",
    ),
    Bug(
        "projects: a density may sum to anything",
        "vaelib/course/projects/plane.py",
        swap("if not abs(worst - 1) <= TOTAL:", "if not abs(worst - 1) <= 10:"),
        unit("projects::test_a_posterior_that_does_not_integrate_to_one_is_refused"),
        "assert 'sums to 2.0' in 'its samples",
    ),
    Bug(
        "projects: the Jacobian is not in the integral",
        "vaelib/course/projects/measured.py",
        swap("density = (log_p + _log_jacobian(transform, v)).exp()", "density = log_p.exp()"),
        unit("projects::test_a_likelihood_of_logarithms_beats_both_baselines"),
        "'total of a pixel, worst': 10",
    ),
    Bug(
        "grading: a notebook runs with the teacher's rights",
        "grading/grade.py",
        swap(
            '        if run_apart({"cells": [], "exercises": []}, how, Limits(), FIRST_USER):\n'
            "            return how",
            "        return Isolation(how.name, how.bubble and None)",
        ),
        unit("grading"),
        r"test_a_submission_reaches_neither|TypeError|reached",
    ),
    Bug(
        "grading: two names that look alike",
        "grading/grade.py",
        swap("name = next(n for n in numbered if n not in taken)", "name = next(numbered)"),
        unit("grading"),
        r"test_marks_go_to_the_learner",
    ),
    Bug(
        "grading: a home without an end",
        "grading/grade.py",
        swap('"--size", str(limits.folders), ', ""),
        unit("grading"),
        r"home 268435456",
    ),
    Bug(
        "grading: what was not attempted gets its points",
        "grading/grade.py",
        swap(
            "        except checks.CheckFailed as failure:\n",
            "        except checks.CheckFailed as failure:\n"
            '            if "not att" in str(failure):\n'
            '                return nbformat.v4.new_output("stream", text="")\n',
        ),
        unit("grading"),
        r"test_the_reference_solutions",
    ),
    Bug(
        "learner: a copy keeps its solutions",
        "learner/book/kl.ipynb",
        lambda text: text.replace("raise NotImplementedError()", "return 0", 1),
        unit("learner"),
        r"stale: kl",
    ),
    # benchmarks and recorded runs
    Bug(
        "benchmarks: the ladder binarizes otherwise than fit",
        "benchmarks/textbook.py",
        swap(".random_(0, 255)", ".random_(0, 256)"),
        unit("benchmarks::test_the_loops_from_resident_data_to_fit_take_the_same_steps"),
        r"Tensor-likes are not close",
    ),
    Bug(
        "benchmarks: Adam before the gradient in the loop of tutorials",
        "benchmarks/textbook.py",
        swap(
            "            value.backward()\n"
            "            total += value.item() if read else value.detach()\n"
            "            optimizer.step()\n",
            "            optimizer.step()\n"
            "            value.backward()\n"
            "            total += value.item() if read else value.detach()\n",
        ),
        unit("benchmarks::test_the_loops_from_resident_data_to_fit_take_the_same_steps"),
        r"Tensor-likes are not close|assert 0\.002",
    ),
    Bug(
        "benchmarks: a rung trains on another batch",
        "benchmarks/contest.py",
        swap("pixels, batch_size=BATCH, lr=LR", "pixels, batch_size=2 * BATCH, lr=LR"),
        unit("gpu_script::test_all_rungs_train_on_the_same_batches"),
        r"\[200, 200\] == \[128, 72",
    ),
    Bug(
        "benchmarks: a rung learns at another rate",
        "benchmarks/contest.py",
        swap("batch_size=BATCH, lr=LR,", "batch_size=BATCH, lr=2 * LR,"),
        unit("gpu_script::test_all_rungs_learn_at_the_same_rate"),
        r"Tensor-likes are not close",
    ),
    Bug(
        "benchmarks: a graph is timed without waiting for it",
        "benchmarks/contest.py",
        swap("        event.synchronize()\n", ""),
        unit("gpu_script::test_a_graph_is_timed_until_it_has_ended"),
        r"both events must be completed|busy_until",
    ),
    Bug(
        "benchmarks: a GPU is timed by the processor's clock",
        "benchmarks/contest.py",
        swap('self.cuda = device.type == "cuda"', "self.cuda = False"),
        unit("gpu_script::test_a_graph_is_timed_until_it_has_ended"),
        r"busy_until",
    ),
    Bug(
        "benchmarks: a rung is compared across rounds",
        "benchmarks/ladder.py",
        swap(
            '"times": result.faster(BASE, name),',
            '"times": [max(result.seconds[BASE]) / s for s in seconds_per_epoch],',
        ),
        unit("gpu_script::test_the_ladder_has_each_rung_with_its_factors_or_is_refused"),
        r"times|assert \[",
    ),
    Bug(
        "benchmarks: the plan ignores what is spent",
        "benchmarks/budget.py",
        swap("max(0.0, end - now)", "end"),
        unit("gpu_script::test_the_budget_is_never_exceeded"),
        r"assert now <= until|<= \(",
    ),
    Bug(
        "benchmarks: the plan forgets what measuring costs",
        "benchmarks/budget.py",
        swap(" - sum(cost.fixed for cost in kept)", ""),
        unit("gpu_script::test_the_budget_is_never_exceeded"),
        r"assert .* <= ",
    ),
    Bug(
        "benchmarks: pieces are stored at the end only",
        "benchmarks/gpu.py",
        swap(
            "            provenance.write(options.out, record)\n        if part", "        if part"
        ),
        unit("gpu_script::test_a_run_that_is_cut_leaves_what_it_has_and_goes_on_from_there"),
        r"FileNotFoundError",
    ),
    Bug(
        "benchmarks: a floor that cannot run takes the ladder with it",
        "benchmarks/ladder.py",
        swap("found.pop(FLOOR, None)", "found.pop(FLOOR)"),
        unit("gpu_script::test_what_breaks_is_not_what_is_refused_and_the_rest_is_kept"),
        "KeyError",
    ),
    Bug(
        "scoreboard: the best rate of three may be the largest or the smallest",
        "benchmarks/rows.py",
        swap("for _ in range(FURTHER):", "for _ in range(0):"),
        unit("scoreboard::test_everything_runs"),
        "test_everything_runs",
    ),
    Bug(
        "benchmarks: what fails is called refused",
        "benchmarks/ladder.py",
        swap("if not reason.startswith(REFUSALS)", "if not reason"),
        unit("gpu_script::test_what_breaks_is_not_what_is_refused_and_the_rest_is_kept"),
        r"CUDA error",
    ),
    Bug(
        "benchmarks: measured although the self-test has failed",
        "benchmarks/gpu.py",
        swap('if part == "selftest" and record["failed"]:', "if not record:"),
        unit("gpu_script::test_where_a_check_fails_nothing_is_measured"),
        r'"ladder" not in record|\'ladder\' not in',
    ),
    Bug(
        "benchmarks: numbers of two machines in one file",
        "benchmarks/provenance.py",
        swap('"device", "machine", "versions"', '"device", "versions"'),
        unit("gpu_script::test_numbers_of_two_machines_or_sources_are_not_put_together"),
        r"assert 0 == 2",
    ),
    Bug(
        "benchmarks: numbers of two commits in one file",
        "benchmarks/provenance.py",
        swap('for name in ("commit", "tree_changed",', "for name in ("),
        unit("gpu_script::test_numbers_of_two_machines_or_sources_are_not_put_together"),
        r"assert 0 == 2",
    ),
    Bug(
        "benchmarks: two threads are judged by what one is asked for",
        "benchmarks/speed.py",
        swap("raced = threads == 1 and ", "raced = "),
        unit("benchmarks::test_several_threads_are_not_judged"),
        r"assert \[",
    ),
    Bug(
        "train: of a sweep over widths, the ninth is not compiled",
        "vaelib/train/step.py",
        swap("        private.expect_many_models()\n", ""),
        unit("private::test_a_sweep_over_widths_can_be_compiled"),
        "Hard failure due to fullgraph",
    ),
    Bug(
        "benchmarks: a target is judged by the mean",
        "benchmarks/speed.py",
        swap("statistics.median(values) >= bar", "statistics.fmean(values) >= bar"),
        unit("benchmarks::test_the_targets_are_medians_of_factors_within_a_round"),
        r"assert (True|False) is",
    ),
    Bug(
        "data: a record must have points",
        "vaelib/course/recordings.py",
        swap('record.get("points", ())', 'record["points"]'),
        unit("data::test_a_record_is_read_as_it_is"),
        r"KeyError",
    ),
    Bug(
        "exercises: the expected output is another",
        "book/kl.ipynb",
        swap("tensor(0.5000)", "tensor(0.2500)"),
        unit("exercises"),
        r"Expected:",
    ),
    Bug(
        "shapes: a function inside of a function is wrapped anew at each call",
        "tests/outermost.py",
        swap("JaxtypingTransformer.generic_visit = generic_visit\n", ""),
        unit("outermost"),
        "test_what_is_inside_of_a_function_is_left_alone",
    ),
    Bug(
        "shapes: of a function inside of a function, where nobody checks them",
        "vaelib/vae/model.py",
        swap(
            "def prior(x: Tensor, c: Tensor | None) -> Tensor:",
            'def prior(x: Float[Tensor, "n pixel"], c: Tensor | None) -> Tensor:',
        ),
        unit("outermost"),
        "test_no_function_inside_of_another",
    ),
]


def copy_of_the_repository(to: Path) -> None:
    """What git tracks, as it lies in the working tree."""
    files = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def run(check: tuple[str, ...], where: Path) -> tuple[int, str]:
    """Run a check on the copy, whose own vaelib must be the one that is imported."""
    done = subprocess.run(
        [sys.executable, ".ci/checks.py", *check],
        cwd=where,
        # Two run at a time, on one core each: threads of both would fight for them.
        env=os.environ | {"PYTHONPATH": str(where), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def plant(bugs: list[Bug], where: Path) -> list[str]:
    """Plant bugs of one check in a copy, one at a time; the names of those that were missed."""
    missed: list[str] = []
    for number, bug in enumerate(bugs):
        start = time.perf_counter()
        path = where / bug.file
        before = path.read_text() if path.exists() else None
        if bug.check[0] == "nbval":  # the sound notebook is cut in the same place
            cut = partial(up_to_compared, table=of_a_table(bug))
            path.write_text(notebook(cut)(before))
        if number == 0:
            code, output = run(bug.check, where)
            if code:
                print(
                    f"MISSED {' '.join(bug.check)} fails without a bug\n{output[-3000:]}",
                    flush=True,
                )
                path.unlink() if before is None else path.write_text(before)
                return [bug.name for bug in bugs]
        path.write_text(bug.edit(before or ""))
        code, output = run(bug.check, where)
        path.unlink() if before is None else path.write_text(before)
        found = code != 0 and re.search(bug.complaint, output)
        missed += [] if found else [bug.name]
        took = f"({bug.check[0]}, {time.perf_counter() - start:.0f} s)"
        print(
            f"found  {bug.name} {took}" if found else f"MISSED {bug.name} {took}\n{output[-3000:]}",
            flush=True,
        )
    return missed


def of_a_table(bug: Bug) -> bool:
    return "of a table" in bug.name


def main(words: list[str]) -> int:
    bugs = [bug for bug in BUGS if all(word.lower() in bug.name.lower() for word in words)]
    by_check: dict[tuple[object, ...], list[Bug]] = {}
    for bug in bugs:
        by_check.setdefault((*bug.check, of_a_table(bug)), []).append(bug)
    copies: SimpleQueue[Path] = SimpleQueue()

    def plant_in_a_copy(some: list[Bug]) -> list[str]:
        where = copies.get()
        try:
            return plant(some, where)
        finally:
            copies.put(where)

    with tempfile.TemporaryDirectory(prefix="sabotage ") as folder:  # a space, as clones have
        for name in ("one", "two"):
            copy_of_the_repository(Path(folder, name))
            copies.put(Path(folder, name))
        with ThreadPoolExecutor(2) as pool:
            missed = [
                name for some in pool.map(plant_in_a_copy, by_check.values()) for name in some
            ]
    print(f"sabotage: {len(bugs) - len(missed)} found, {len(missed)} missed", *missed, sep="\n  ")
    return int(bool(missed) or not bugs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
