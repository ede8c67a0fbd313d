"""Intrinsic functions and parameters."""

from pathlib import Path

import pytest

from headrace import template
from headrace.errors import TemplateError, UsageError
from support.templates import SMALL, read

# A function's argument, as the value of an environment variable → what the function is handed.
VALUES = {
    "plain": "plain",
    "5": "5",
    "1.5": "1.5",
    "true": "true",
    "007": "007",
    "2012-10-17": "2012-10-17",
    "!Ref Mode": "quick",
    "!Ref Days": "7",
    "!Ref Feed": "feed",
    "!Ref Items": "items",
    "!Ref Rejects": "rejects",
    "!Ref Late": "Late",
    "!Ref ReaderRole": "ReaderRole",
    "!Ref AWS::Region": "us-east-1",
    "!Ref AWS::AccountId": "000000000000",
    "!Ref AWS::StackName": "headrace",
    "!Ref AWS::Partition": "aws",
    "!Ref AWS::URLSuffix": "amazonaws.com",
    "!GetAtt Feed.Arn": "arn:aws:kinesis:us-east-1:000000000000:stream/feed",
    "!GetAtt Items.Arn": "arn:aws:dynamodb:us-east-1:000000000000:table/items",
    "!GetAtt Rejects.Arn": "arn:aws:s3:::rejects",
    "!GetAtt Topic.TopicArn": "arn:aws:sns:us-east-1:000000000000:topic/Topic",
    "!GetAtt Topic.TopicName": "Topic.TopicName",
    "{'Fn::GetAtt': [Rejects, DomainName]}": "rejects.s3.amazonaws.com",
    "{'Fn::GetAtt': Rejects.Arn}": "arn:aws:s3:::rejects",
    '!Sub "a ${Mode} b"': "a quick b",
    '!Sub "${Feed}/${Feed.Arn}/${AWS::Region}"': ("feed/arn:aws:kinesis:us-east-1:000000000000:stream/feed/us-east-1"),
    '!Sub "${!Literal} ${Days}"': "${Literal} 7",
    '!Sub ["${X}-${Mode}", {X: !Ref Days}]': "7-quick",
    "!Join ['-', [a, !Ref Mode, !Ref AWS::NoValue, c]]": "a-quick-c",
    "!Join [':', !Ref Names]": "a:b",
    "!Join ['+', !Split [',', 'x,y,z']]": "x+y+z",
    "!Select [1, [a, b, c]]": "b",
    "!Select ['0', !Ref Names]": "a",
    "!Select [2, !Split ['/', 'a/b/c']]": "c",
    "!If [IsSlow, a, b]": "b",
    "!If [IsQuick, !If [IsEither, a, b], c]": "a",
    "!If [IsNeither, a, b]": "b",
    "!FindInMap [Sizes, !Ref Mode, memory]": "256",
    "!FindInMap [Sizes, slow, memory]": "128",
    "!Base64 abc": "YWJj",
}
EXTRA = {
    "Conditions:\n": """\
Conditions:
  IsQuick: !Not [Condition: IsSlow]
  IsEither: !Or [!Condition IsSlow, !Condition IsQuick]
  IsNeither: !And [!Condition IsSlow, !Equals ["7", !Ref Days]]
""",
    "Parameters:\n": "Parameters:\n  Names: {Type: CommaDelimitedList, Default: 'a, b'}\n",
    "Resources:\n": "Resources:\n  Topic: {Type: AWS::SNS::Topic}\n",
}


def with_value(value: str) -> str:
    text = SMALL
    for part, more in EXTRA.items():
        text = text.replace(part, more, 1)
    return text.replace("TABLE: !Ref Items", f"VALUE: {value}", 1)


@pytest.mark.parametrize(("value", "wanted"), VALUES.items())
def test_values(tmp_path: Path, value: str, wanted: str) -> None:
    assert read(tmp_path, with_value(value)).functions[0].environment["VALUE"] == wanted


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("!Ref Names", "VALUE is a list"),
        ("!Select [3, [a, b]]", "no item 3 of 2"),
        ("!Select [x, [a, b]]", "no item x of 2"),
        ("!Select [0, a]", "not a list"),
        ("!Join ['-', a]", "not a list"),
        ("!Join ['-']", "takes two values"),
        ("!Split ['-']", "takes two values"),
        ("!FindInMap [Sizes, medium, memory]", "no key medium"),
        ("!FindInMap [Sizes, quick]", "takes a mapping and two keys"),
        ("{'Fn::GetAtt': Feed}", "GetAtt takes"),
        ('!Sub "${Names}"', "a list, not text"),
        ("!Sub [a]", "Sub takes"),
        ("!If [IsSlow, a]", "If takes"),
        ("!Ref [a]", "Ref takes a name"),
        ("!GetAZs ''", "no value on one machine"),
        ("{a: b}", "a mapping (a)"),
        ("null", "nothing"),
    ],
)
def test_values_that_are_wrong(tmp_path: Path, value: str, says: str) -> None:
    with pytest.raises(TemplateError) as caught:
        read(tmp_path, with_value(value))
    assert says in str(caught.value)
    assert "VALUE" in with_value(value).splitlines()[caught.value.line - 1]


def test_no_value_takes_a_member_away(tmp_path: Path) -> None:
    assert "KEEP" not in read(tmp_path, SMALL).functions[0].environment
    assert read(tmp_path, SMALL, {"Mode": "slow"}).functions[0].environment["KEEP"] == "7"


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("{IsSlow: !Not [!Condition IsSlow]}", "circle: condition IsSlow"),
        ("{IsSlow: !Ref Mode}", "'quick', not a condition"),
        ("{IsSlow: !Not Mode}", "takes a list of conditions"),
        ("{IsSlow: !Not [!Condition Slow]}", "no condition Slow"),
    ],
)
def test_conditions_that_are_wrong(tmp_path: Path, condition: str, says: str) -> None:
    text = SMALL.replace("Conditions:\n  IsSlow: !Equals [!Ref Mode, slow]\n", f"Conditions: {condition}\n")
    with pytest.raises(TemplateError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value)


# What the parameter P declares, the value given (None: none) → what Ref answers, or what the error says.
PARAMETERS = [
    ("Type: String", "x", "x"),
    ("Type: String", "", ""),
    ("Type: String, Default: d", None, "d"),
    ("Type: String, Default: true", None, "true"),
    ("Type: String", None, "Give it: --parameters P=VALUE"),
    ("Type: String, AllowedValues: [a, b]", "b", "b"),
    ("Type: String, AllowedValues: [a, b]", "c", "it may be a, b"),
    ("Type: String, AllowedValues: [true, false]", "true", "true"),
    ("Type: String, AllowedPattern: '[a-z]+'", "abc", "abc"),
    ("Type: String, AllowedPattern: '[a-z]+'", "abc1", "it must match [a-z]+"),
    ("Type: String, AllowedPattern: '[a-z]+', ConstraintDescription: small letters", "1", "It must be small letters."),
    ("Type: String, AllowedPattern: '[a-z'", "abc", "Mend the pattern."),
    ("Type: String, MinLength: 2, MaxLength: 3", "a", "at least 2 characters"),
    ("Type: String, MinLength: 2, MaxLength: 3", "abcd", "at most 3 characters"),
    ("Type: Number", "1.5", "1.5"),
    ("Type: Number", "one", "it must be a number"),
    ("Type: Number, MinValue: 1, MaxValue: 5", "0", "it must be at least 1"),
    ("Type: Number, MinValue: 1, MaxValue: 5", "6", "it must be at most 5"),
    ("Type: Number, MinValue: one", "6", "MinValue is no number"),
    ("Type: AWS::EC2::VPC::Id", "vpc-1", "vpc-1"),
    ("Type: AWS::SSM::Parameter::Value<String>, Default: /path", "x", "x"),
    ("Type: AWS::SSM::Parameter::Value<String>, Default: /path", None, "looked up in AWS Systems Manager"),
    ("Default: x", None, "Did you mean"),
]


@pytest.mark.parametrize(("declared", "given", "wanted"), PARAMETERS)
def test_parameters(tmp_path: Path, declared: str, given: str | None, wanted: str) -> None:
    text = with_value("!Ref P").replace("Parameters:\n", f"Parameters:\n  P: {{{declared}}}\n", 1)
    values = {} if given is None else {"P": given}
    try:
        system = read(tmp_path, text, values)
    except TemplateError as error:
        assert wanted in str(error) or (wanted == "Did you mean" and "no known Type" in str(error))
        assert "P: {" in text.splitlines()[error.line - 1]
    else:
        assert system.functions[0].environment["VALUE"] == wanted == system.parameters["P"]


def test_an_unknown_parameter_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="no such parameter") as caught:
        read(tmp_path, SMALL, {"Moed": "slow"})
    assert caught.value.hint == "Did you mean Mode?"


def test_lists_are_joined_in_the_system(tmp_path: Path) -> None:
    assert read(tmp_path, with_value("x"), {"Names": "c, d,e"}).parameters["Names"] == "c,d,e"


def test_parameters_come_from_assignments_and_files(tmp_path: Path) -> None:
    files = {
        "a.json": '{"A": 1, "B": true, "C": ["x", "y"], "D": "007"}',
        "b.yaml": "A: 1.50\nB: yes\n",
        "c.json": '[{"ParameterKey": "A", "ParameterValue": "9"}]',
        "d.json": '["A=1", "B=x=y"]',
        "e.json": '{"Parameters": {"A": "1"}}',
        "f.env": "# sizes\nA=1\n\n  B=x = y\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = {name: str(tmp_path / name) for name in files}
    assert template.parse_parameters([]) == {}
    assert template.parse_parameters(["A=1", "B=x=y", "C="]) == {"A": "1", "B": "x=y", "C": ""}
    assert template.parse_parameters([paths["a.json"]]) == {"A": "1", "B": "true", "C": "x,y", "D": "007"}
    assert template.parse_parameters([paths["b.yaml"]]) == {"A": "1.50", "B": "yes"}
    assert template.parse_parameters([paths["c.json"]]) == {"A": "9"}
    assert template.parse_parameters([paths["d.json"]]) == {"A": "1", "B": "x=y"}
    assert template.parse_parameters([paths["e.json"]]) == {"A": "1"}
    assert template.parse_parameters([paths["f.env"]]) == {"A": "1", "B": "x = y"}
    assert template.parse_parameters(["A=0", paths["c.json"], "B=1"]) == {"A": "9", "B": "1"}
    assert template.parse_parameters([paths["c.json"], "A=0"]) == {"A": "0"}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("just text", 1, "holds no parameters"),
        ("- {Key: A}\n", 1, "This is no parameter"),
        ("A: 1\nB: {c: d}\n", 2, "a text or a list of texts"),
        ("A: 1\nA: 2\n", 2, "stands here twice"),
        ("A: [1\n", 1, "Close the bracket"),
    ],
)
def test_a_file_of_parameters_that_is_wrong(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text(text)
    with pytest.raises(TemplateError) as caught:
        template.parse_parameters([str(path)])
    assert says in str(caught.value)
    assert caught.value.line == line


def test_what_is_neither_assignment_nor_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither NAME=VALUE nor a file"):
        template.parse_parameters([str(tmp_path / "missing.json")])
