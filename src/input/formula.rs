//! Tells whether a spreadsheet's formula computes its result from many cells, as a total does.
//! Everything here is pure.

/// Functions that make one number of many.
const AGGREGATES: [&str; 33] = [
    "SUM",
    "SUMIF",
    "SUMIFS",
    "SUMPRODUCT",
    "SUMSQ",
    "SUBTOTAL",
    "AGGREGATE",
    "COUNT",
    "COUNTA",
    "COUNTIF",
    "COUNTIFS",
    "COUNTBLANK",
    "COUNTUNIQUE",
    "AVERAGE",
    "AVERAGEA",
    "AVERAGEIF",
    "AVERAGEIFS",
    "MAX",
    "MAXA",
    "MAXIFS",
    "MIN",
    "MINA",
    "MINIFS",
    "MEDIAN",
    "MODE",
    "PRODUCT",
    "DSUM",
    "DCOUNT",
    "DCOUNTA",
    "DMAX",
    "DMIN",
    "ROWS",
    "STDEV",
];

/// Functions whose result is that of an argument, and the index of the first argument for which
/// that holds.
const WRAPPERS: [(&str, usize); 15] = [
    ("IF", 1),
    ("IFS", 1),
    ("IFERROR", 0),
    ("IFNA", 0),
    ("ROUND", 0),
    ("ROUNDUP", 0),
    ("ROUNDDOWN", 0),
    ("INT", 0),
    ("TRUNC", 0),
    ("ABS", 0),
    ("N", 0),
    ("T", 0),
    ("VALUE", 0),
    ("TEXT", 0),
    ("CONCATENATE", 0),
];

/// The nesting up to which formulas are looked into. Spreadsheet programs allow 64 levels.
const MAX_DEPTH: usize = 64;

/// Checks whether the result of a formula is computed by a function such as SUM, SUBTOTAL or COUNT.
/// A function that only looks a value up, such as `INDEX(A:A, MATCH(MAX(B:B), B:B, 0))`, is no such
/// function.
pub(super) fn is_aggregate(formula: &str) -> bool {
    // A file in the OpenDocument format names the language in front: `of:=SUM([.A1:.A3])`.
    let expression = match formula.split_once('=') {
        Some((prefix, rest)) if !prefix.contains(['(', '"']) && prefix.len() < 16 => rest,
        _ => formula,
    };
    has_aggregate_term(expression, MAX_DEPTH)
}

fn has_aggregate_term(expression: &str, depth: usize) -> bool {
    if depth == 0 {
        return true;
    }
    split(expression, |c| "+-*/^&%".contains(c))
        .into_iter()
        .any(|term| is_aggregate_term(term.trim(), depth))
}

fn is_aggregate_term(term: &str, depth: usize) -> bool {
    let Some((name, rest)) = term.split_once('(') else {
        return false;
    };
    let Some(arguments) = rest.trim_end().strip_suffix(')') else {
        return false;
    };
    let name = name.trim().trim_start_matches('@').to_ascii_uppercase();
    let name = name.strip_prefix("_XLFN.").unwrap_or(&name);
    // `MODE.SNGL` and `STDEV.S` are kinds of MODE and STDEV.
    let name = name.split('.').next().unwrap_or_default();
    if name.is_empty() {
        return has_aggregate_term(arguments, depth - 1);
    }
    if AGGREGATES.contains(&name) {
        return true;
    }
    let Some((_, first)) = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == name) else {
        return false;
    };
    split(arguments, |c| matches!(c, ',' | ';'))
        .into_iter()
        .skip(*first)
        .any(|argument| has_aggregate_term(argument, depth - 1))
}

/// Splits an expression at separators that are in no brackets and no quotation marks.
fn split(expression: &str, is_separator: fn(char) -> bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut brackets = 0_usize;
    let mut quote = None;
    for (at, c) in expression.char_indices() {
        if let Some(open) = quote {
            if c == open {
                quote = None;
            }
            continue;
        }
        match c {
            '"' | '\'' => quote = Some(c),
            '(' | '[' | '{' => brackets += 1,
            ')' | ']' | '}' => brackets = brackets.saturating_sub(1),
            _ if brackets == 0 && is_separator(c) => {
                parts.push(&expression[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&expression[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_aggregates() {
        for formula in [
            "SUM(A2:A4)",
            "=SUM(A2:A4)",
            "SUBTOTAL(109,Table1[User ID])",
            "COUNT(A2:A4)",
            "counta(A2:A4)",
            "A1+SUM(A2:A4)",
            "-SUM(A2:A4)",
            "(SUM(A2:A4))",
            "ROUND(SUM(A2:A4),0)",
            "IF(A1=\"\",\"\",SUM(A2:A4))",
            "IFERROR(SUM(A2:A4),0)",
            "of:=SUM([.A2:.A4])",
            "of:=SUBTOTAL(9;[.A2:.A4])",
            "oooc:=SUM([.A2:.A4])",
            "_xlfn.AGGREGATE(9,5,A2:A4)",
            "@MAX(A2:A4)+1",
            "SUMIFS(B:B,A:A,\"x\")",
        ] {
            assert!(is_aggregate(formula), "{formula}");
        }
    }

    #[test]
    fn values_that_are_looked_up_or_copied_are_no_aggregates() {
        for formula in [
            "VLOOKUP(C2,Users!A:B,2,FALSE)",
            "INDEX(A:A,MATCH(MAX(B:B),B:B,0))",
            "IF(COUNTIF(A:A,C2)>0,VLOOKUP(C2,A:B,2,0),\"\")",
            "B2",
            "Sheet2!A2",
            "'Sum (old)'!A2",
            "\"SUM(A1:A2)\"",
            "VALUE(MID(C2,FIND(\"/\",C2)+1,9))",
            "of:=[.B2]",
            "",
            "SUMMARY(A1)",
        ] {
            assert!(!is_aggregate(formula), "{formula}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_formula_makes_it_panic(formula in "[-+=(),;\"'A-Z\\[\\]é]{0,60}") {
            is_aggregate(&formula);
        }
    }
}
