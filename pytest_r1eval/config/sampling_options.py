"""
The rows of the table of options that say how a response is sampled: part of the question that a run asks.

`options` has the other rows, and what a row is read for.
"""

from pytest_r1eval.config import values
from pytest_r1eval.config.option import Option, drawn, drawn_by_policy
from pytest_r1eval.core import choices

SAMPLING: tuple[Option, ...] = (
    drawn_by_policy(
        name="sampling",
        choices=choices.SamplingSource,
        default="deepseek",
        help="whose sampling counts where the next six options say nothing: temperature 0.6 and top-p 0.95, or the "
        "model's generation_config.json",
    ),
    drawn_by_policy(name="temperature", parse=values.non_negative_float, metavar="T", help="sampling temperature"),
    drawn_by_policy(name="top-p", parse=values.fraction, metavar="P", help="nucleus mass"),
    drawn_by_policy(
        name="top-k",
        parse=values.count,
        metavar="N",
        help="only the N likeliest tokens may follow; 0 for all",
    ),
    drawn_by_policy(
        name="min-p",
        parse=values.fraction_or_zero,
        metavar="P",
        help="the least probability of a token, as a fraction of the likeliest one's",
    ),
    drawn_by_policy(
        name="repetition-penalty",
        parse=values.positive_float,
        metavar="R",
        help="divides the logits of tokens that prompt or response hold already; 1 for none",
    ),
    drawn_by_policy(
        name="presence-penalty",
        parse=values.penalty,
        metavar="A",
        help="is taken off the logits of tokens that the response holds already; 0 for none",
    ),
    drawn_by_policy(
        name="max-new-tokens",
        parse=values.positive_int,
        metavar="N",
        help="tokens asked for per response (32768, or what the benchmark says)",
    ),
    drawn_by_policy(
        name="max-model-len",
        parse=values.positive_int,
        metavar="N",
        help="tokens of prompt and response together (32768, or what the model can)",
    ),
    drawn(name="system-prompt", may_have_lines=True, metavar="TEXT", help="a system message before every problem"),
    drawn(
        name="chat-template-kwargs",
        parse=values.template_argument,
        collect=dict,
        is_json=True,
        metavar="KEY=VALUE",
        help="an argument of the chat template, its value JSON or text: enable_thinking=false, reasoning_effort=high",
    ),
    drawn(
        name="think-tags",
        parse=values.think_tags,
        metavar="OPEN,CLOSE",
        help="what encloses a thought (found in the chat template or the tokenizer, if they know such tags)",
    ),
    drawn_by_policy(
        name="thinking-budget",
        parse=values.positive_int,
        metavar="N",
        help="tokens after which vLLM ends a thought, so that the answer follows (as many as the thought takes)",
    ),
    drawn(
        name="template-date",
        parse=values.date,
        metavar="DATE",
        default="2025-01-01",
        help="the date that the chat template sees, so that one which prints it asks the same every day",
    ),
    drawn(
        name="seed",
        parse=values.seed,
        metavar="N",
        help="the run's seed (from the checkpoint's digest, and the attempt's number)",
    ),
)
