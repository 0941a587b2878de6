"""Words next to numbers: currencies, and words for powers of ten such as thousand and million."""

import unicodedata

CURRENCY_CODES = frozenset(
    """
    AED ARS AUD BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR JPY KES KRW MXN MYR NGN NOK NZD PEN
    PHP PKR PLN QAR RMB RON RUB Rs Rs. SAR SEK SGD THB TRY TWD UAH USD VND ZAR Fr. kr Kč zł
    """.split()  # noqa: SIM905 - a list of 49 strings is harder to read
)
SCALES = {  # `billion` and `trillion` are English; the German `Billion`, with a capital letter, is not included
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "B": 1e9,
    "bn": 1e9,
    **dict.fromkeys(("thousand", "thousands", "Tsd", "Tsd.", "тыс", "тыс.", "tys.", "tis."), 1e3),
    **dict.fromkeys(("million", "millions", "Million", "Millionen", "miljoen", "Mio", "Mio.", "mln", "mln."), 1e6),
    **dict.fromkeys(("млн", "млн.", "Mill."), 1e6),
    **dict.fromkeys(("billion", "milliard", "milliards", "Milliarden", "miljard", "Mrd", "Mrd.", "mld", "mld."), 1e9),
    **dict.fromkeys(("млрд", "млрд."), 1e9),
    "trillion": 1e12,
    "lakh": 1e5,
    "crore": 1e7,
    **dict.fromkeys("万萬만", 1e4),
    **dict.fromkeys("億亿억", 1e8),
}
MONEY_SCALES = SCALES | {"m": 1e6, "mn": 1e6, "MM": 1e6, "b": 1e9, "tn": 1e12}
"""The words for powers of ten in amounts of money. After any other number, `m` means metres or minutes."""


def is_currency(text: str) -> bool:
    return text in CURRENCY_CODES or any(unicodedata.category(character) == "Sc" for character in text)
