"""The interactive menu: what can be done (`actions`), how it is asked, and how it is drawn."""
