"""The models that mmsearch knows of, the user's own among them, and what is done with them."""

from mmsearch.models.catalogue import CATALOGUE, ModelInfo, list_models, model_info

__all__ = ["CATALOGUE", "ModelInfo", "list_models", "model_info"]
