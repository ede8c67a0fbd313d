"""Currencies and their minor units (ISO 4217), and amounts as text. Pure."""

from decimal import ROUND_HALF_UP, Decimal

# How many decimals an amount has; two, where nothing else is said.
_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW "
        "CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
        "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK "
        "MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP "
        "SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER "
        "ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
DIGITS = {code: digits for digits, codes in _DIGITS.items() for code in codes.split()}
DIGITS_MAX = max(_DIGITS)


def rounded(amount: Decimal, digits: int) -> Decimal:
    """Return an amount to so many decimals, the half away from zero."""
    return amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


def plain(amount: Decimal, currency: str) -> str:
    """Return an amount as programs read it, exact, with at least the currency's decimals: `-1234.50`."""
    digits = DIGITS.get(currency, 2)
    shown = rounded(amount, digits)
    return f"{shown if shown == amount else amount.normalize():f}"


def text(amount: Decimal, currency: str) -> str:
    """Return an amount with the currency's decimals, thousands separated: `-1,234.50`; more where it has more."""
    digits = DIGITS.get(currency, 2)
    shown = rounded(amount, digits)
    return f"{shown if shown == amount else amount.normalize():,f}"
