"""WisQu: chat backend and page on OpenRouter."""
