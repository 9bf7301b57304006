"""People's preferences: a web app in which people annotate pairs, and what they said as records."""
