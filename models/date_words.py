"""Translates dates with words in many languages into forms that `strptime` can parse: `27. Dezember 2021` becomes `27.
Dec 2021`, `2021年12月27日` becomes `2021-12-27`.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from functools import cache

from models.equivalent_characters import with_ascii_forms

MAX_DATE_TEXT = 100  # maximum number of characters of a date
ENGLISH = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905 - a list is harder to read
MONTHS = """
    january february march april may june july august september october november december
    januar februar märz april mai juni juli august september oktober november dezember
    jänner feber mrz april mai juni juli august september oktober november dezember
    janvier février mars avril mai juin juillet août septembre octobre novembre décembre
    enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre
    gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre
    janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro
    gener febrer març abril maig juny juliol agost setembre octubre novembre desembre
    januari februari maart april mei juni juli augustus september oktober november december
    januari februari mars april maj juni juli augusti september oktober november december
    januar februar marts april maj juni juli august september oktober november december
    januar februar mars april mai juni juli august september oktober november desember
    styczeń luty marzec kwiecień maj czerwiec lipiec sierpień wrzesień październik listopad grudzień
    stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia
    leden únor březen duben květen červen červenec srpen září říjen listopad prosinec
    ledna února března dubna května června července srpna září října listopadu prosince
    január február március április május június július augusztus szeptember október november december
    ianuarie februarie martie aprilie mai iunie iulie august septembrie octombrie noiembrie decembrie
    ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık
    январь февраль март апрель май июнь июль август сентябрь октябрь ноябрь декабрь
    января февраля марта апреля мая июня июля августа сентября октября ноября декабря
    січень лютий березень квітень травень червень липень серпень вересень жовтень листопад грудень
    січня лютого березня квітня травня червня липня серпня вересня жовтня листопада грудня
    ιανουαρίου φεβρουαρίου μαρτίου απριλίου μαΐου ιουνίου ιουλίου αυγούστου σεπτεμβρίου οκτωβρίου νοεμβρίου δεκεμβρίου
    januari februari maret april mei juni juli agustus september oktober november desember
    tammikuu helmikuu maaliskuu huhtikuu toukokuu kesäkuu heinäkuu elokuu syyskuu lokakuu marraskuu joulukuu
    tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesäkuuta heinäkuuta elokuuta syyskuuta lokakuuta marraskuuta joulukuuta
"""  # noqa: E501, RUF001 - a line for each language; letters of other scripts
WEEKDAYS = """
    monday tuesday wednesday thursday friday saturday sunday montag dienstag mittwoch donnerstag freitag samstag
    sonnabend sonntag lundi mardi mercredi jeudi vendredi samedi dimanche lunes martes miércoles jueves viernes sábado
    domingo lunedì martedì mercoledì giovedì venerdì sabato domenica segunda terça quarta quinta sexta maandag dinsdag
    woensdag donderdag vrijdag zaterdag zondag måndag tisdag onsdag torsdag fredag lördag söndag mandag tirsdag lørdag
    søndag poniedziałek wtorek środa czwartek piątek sobota niedziela pondělí úterý středa čtvrtek pátek neděle
    понедельник вторник среда четверг пятница суббота воскресенье пн вт ср чт пт сб вс
""".split()  # noqa: RUF001, SIM905
FILLERS = frozenset("de del do da of the at um uhr klo kl om uur à às ore ora den le el la г г. р. року года".split())  # noqa: RUF001, SIM905
ZONES = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}  # RFC 2822
ZONES |= {"WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "MEZ": 1, "MESZ": 2, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9}
ZONES |= {"KST": 9, "HKT": 8, "SGT": 8, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13}
ZONE = re.compile(rf"(:\d\d(?:\.\d+)?(?: ?[AP]M)?) ?({'|'.join(sorted(ZONES, key=len, reverse=True))})\b")
LEADING_WORD = re.compile(r"([^\W\d_]{2,})\.?,? *(?=\S)")
WORD = re.compile(r"[^\W\d_]+\.?")
REPLACED: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [  # in this order
    (re.compile(r"(Z|[+-]\d\d:?\d\d) ?\[[\w/+-]+\]$"), r"\1"),  # Java writes the name of the zone after its offset
    (re.compile(r" \([^()]*\)$"), ""),  # JavaScript writes the name of the zone in parentheses
    (re.compile(r"\b(?:GMT|UTC)([+-]\d\d:?\d\d)"), r"\1"),
    (re.compile(r"(?<=\d) ?[年년] ?(?=\d)|(?<=\d) ?[月월] ?(?=\d)"), "-"),
    (re.compile(r"(?<=\d) ?[年년月월日일](?=$|[ ,T])"), ""),
    (re.compile(r"(?<=\d)日(?=\d)"), " "),
    (re.compile(r"(?<=\d)[時时시] ?(?=\d)|(?<=\d)[分분] ?(?=\d)"), ":"),
    (re.compile(r"(?<=\d)[分분秒초]$"), ""),
    (re.compile(r"(?:上午|午前|오전) ?(\d[\d:]*)"), r"\1 AM"),
    (re.compile(r"(?:下午|午後|오후) ?(\d[\d:]*)"), r"\1 PM"),
    (re.compile(r"(?<=\d) ?([ap])\.? ?m\b\.?", re.IGNORECASE), lambda found: f" {found[1].upper()}M"),
    (re.compile(r"(?<=\d)(?:st|nd|rd|th|er|º|ª)\b", re.IGNORECASE), ""),  # 1st, 1er
    (re.compile(r"(?<=\d)h(?=\d\d\b)"), ":"),  # 14h30
    (re.compile(r"(?<=\d{4})\. (?=\d\d?:)"), " "),
    (re.compile(r"(?<=\d)\. (?=\d)"), "."),  # 27. 12. 2021
    (re.compile(r"^(\d{4})\. (?=[^\W\d_])"), r"\1 "),  # 2021. december 27.
    (re.compile(r"(?<=[a-z])-feira\b"), ""),
]
CLOCK = re.compile(r"(\d{4}|-\d\d) (\d\d?)\.(\d\d)(?:\.(\d\d))?(?=$| |\.\d)")


def _clock_time(found: "re.Match[str]") -> str:
    return f"{found[1]} " + ":".join(part for part in found.groups()[1:] if part)


@cache
def _months() -> dict[str, int]:
    """The month of each word and abbreviation, from 0. Ambiguous abbreviations are left out."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for line in MONTHS.strip().splitlines():
        for month, word in enumerate(line.split()):
            found[word].add(month)
            if not word.startswith(("tammikuu", "marraskuu")) and "kuu" not in word:
                for length in range(3, len(word)):
                    found[word[:length]].add(month)
    words = {word for line in MONTHS.strip().splitlines() for word in line.split()}
    return {word: min(months) for word, months in found.items() if len(months) == 1 or word in words}


def month_of(word: str) -> str | None:
    """The English abbreviation of a month in any supported language; None if the word is not a month."""
    month = _months().get(word.rstrip(".").casefold())
    return None if month is None else ENGLISH[month]


def _replace_word(found: "re.Match[str]") -> str:
    word = found[0]
    if word in ("AM", "PM", "T", "Z"):
        return word
    month = month_of(word)
    if month is not None:
        return month
    return "" if word.casefold() in FILLERS or word.rstrip(".").casefold() in FILLERS else word


def with_english_words(text: str) -> str:
    """Replace the digits, words and signs of a date with those of English formats. Texts that are not dates may change,
    too."""
    if len(text) > MAX_DATE_TEXT:
        return text
    text = " ".join(with_ascii_forms(text).split())
    for pattern, replacement in REPLACED:
        text = pattern.sub(replacement, text)
    text = ZONE.sub(lambda found: f"{found[1]} {ZONES[found[2]]:+03d}00", text)
    text = _without_weekday(text)
    text = " ".join(WORD.sub(_replace_word, text).split())
    return CLOCK.sub(_clock_time, text).replace(" ,", ",").strip(" .,")


def _without_weekday(text: str) -> str:
    leading = LEADING_WORD.match(text)
    if leading is None:
        return text
    word, rest = leading[1].casefold(), text[leading.end() :]
    if not any(day.startswith(word) for day in WEEKDAYS):
        return text
    has_month = any(map(month_of, WORD.findall(rest)))
    return rest if has_month or month_of(word) is None else text
