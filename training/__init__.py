"""How models come to be: a table is read, understood, split, learned from, judged and stored."""
