"""What processes share: how often somebody came, how much of theirs runs. In memory, or over Valkey or Redis."""
