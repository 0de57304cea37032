"""
What the programs of IFEval and IFBench read, made up: a folder of NLTK's data, and spaCy where it is not installed.

LightEval's programs load spaCy's small model and use nothing of it; so a module that loads nothing stands in for it.
"""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path

from nltk.tokenize.punkt import PunktTrainer, save_punkt_params

SENTENCES = "The cat sat. The dog ran away. A bird sang. It rained, and then it stopped. We went home."


def write_nltk_data(folder: Path) -> None:
    """Write a tokenizer that five sentences trained, a tagger that knows nothing, and two stop words."""
    english = folder / "tokenizers" / "punkt_tab" / "english"
    english.mkdir(parents=True)
    save_punkt_params(PunktTrainer(SENTENCES).get_params(), dir=str(english))
    (folder / "taggers" / "averaged_perceptron_tagger_eng").mkdir(parents=True)
    (folder / "corpora" / "stopwords").mkdir(parents=True)
    (folder / "corpora" / "stopwords" / "english").write_text("the\nof\n")


def stand_in_for_spacy(folder: Path) -> list[str]:
    """Write modules for what of spaCy is not installed, and return the places to find modules with them as the last."""
    loads_nothing = "def load(name):\n    return None\n"
    for name, source in {"spacy": loads_nothing, "en_core_web_sm": ""}.items():
        if util.find_spec(name) is None:
            (folder / f"{name}.py").write_text(source)
            information = folder / f"{name}-3.8.0.dist-info"
            information.mkdir()
            (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.8.0\n")
    return [*sys.path, str(folder)]
