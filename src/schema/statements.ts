// Splits SQL into statements, and normalizes definitions for comparison. It is a tokenizer, not a full parser (D-061).

export const dialects = ["sqlite", "postgres"] as const;
export type Dialect = (typeof dialects)[number];

export interface SqlStatement {
  /** The text without the semicolon and without the comments around it. */
  readonly text: string;
  /** The line on which the statement begins, counted from 1. */
  readonly line: number;
}

type TokenKind = "blank" | "quoted" | "word" | "semicolon" | "other";

interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly at: number;
}

/**
 * The tokens of each dialect. A quote that is never closed extends to the end of the text, so that the database reports
 * it.
 */
const patterns: Readonly<Record<Dialect, RegExp>> = {
  // The four ways to quote: https://www.sqlite.org/lang_keywords.html
  // Comments: https://www.sqlite.org/lang_comment.html
  sqlite:
    /(?<blank>\s+|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|(?<quoted>'(?:[^']|'')*(?:'|$)|"(?:[^"]|"")*(?:"|$)|`(?:[^`]|``)*(?:`|$)|\[[^\]]*(?:\]|$))|(?<word>[\w$\u0080-\uffff]+)|(?<semicolon>;)|(?<other>[\s\S])/guy,
  // Escape strings and dollar quotes: https://www.postgresql.org/docs/current/sql-syntax-lexical.html
  // Block comments nest, so endOfComment finds their end.
  postgres:
    /(?<blank>\s+|--[^\n]*|\/\*)|(?<quoted>[eE]'(?:[^'\\]|\\[\s\S]|'')*(?:'|$)|'(?:[^']|'')*(?:'|$)|"(?:[^"]|"")*(?:"|$)|\$(?<tag>(?:[a-zA-Z_\u0080-\uffff][\w\u0080-\uffff]*)?)\$[\s\S]*?(?:\$\k<tag>\$|$))|(?<word>[\w\u0080-\uffff][\w$\u0080-\uffff]*)|(?<semicolon>;)|(?<other>[\s\S])/guy,
};

/**
 * Returns the statements of a text, in order. A semicolon in a string, comment, quoted name, trigger or dollar quote
 * does not end one.
 */
export function splitStatements(sql: string, dialect: Dialect, firstLine = 1): SqlStatement[] {
  const statements: SqlStatement[] = [];
  let current: Token[] = [];
  const end = (): void => {
    const [first, last] = [current[0], current.at(-1)];
    if (first !== undefined && last !== undefined) {
      const line = firstLine + sql.slice(0, first.at).split("\n").length - 1;
      statements.push({ text: sql.slice(first.at, last.at + last.text.length), line });
    }
    current = [];
  };
  for (const token of tokensOf(sql, dialect)) {
    if (token.kind === "blank") continue;
    if (token.kind !== "semicolon" || (dialect === "sqlite" && inTrigger(current))) current.push(token);
    else end();
  }
  end();
  return statements;
}

/** Returns the same text for definitions that differ only in comments and white space. */
export function canonicalSql(sql: string, dialect: Dialect): string {
  let [canonical, previous]: [string, TokenKind] = ["", "blank"];
  for (const { kind, text } of tokensOf(sql, dialect)) {
    if (kind === "blank") continue;
    const joined = [previous, kind].every((one) => one === "word" || one === "quoted");
    canonical += joined ? ` ${text}` : text;
    previous = kind;
  }
  return canonical;
}

function* tokensOf(sql: string, dialect: Dialect): Generator<Token> {
  const pattern = new RegExp(patterns[dialect]);
  while (pattern.lastIndex < sql.length) {
    const at = pattern.lastIndex;
    const { tag: _, ...groups } = (pattern.exec(sql) as RegExpExecArray).groups as Record<string, string | undefined>;
    if (dialect === "postgres" && groups.blank === "/*") pattern.lastIndex = endOfComment(sql, at);
    const kind = Object.keys(groups).find((name) => groups[name] !== undefined) as TokenKind;
    yield { kind, text: sql.slice(at, pattern.lastIndex), at };
  }
}

function endOfComment(sql: string, start: number): number {
  const marks = /\/\*|\*\//g;
  marks.lastIndex = start;
  let depth = 0;
  for (let mark = marks.exec(sql); mark !== null; mark = marks.exec(sql)) {
    depth += mark[0] === "/*" ? 1 : -1;
    if (depth === 0) return marks.lastIndex;
  }
  return sql.length;
}

/**
 * Returns true when the tokens are an unfinished CREATE TRIGGER. The statements inside a trigger end with semicolons
 * too; the trigger itself ends with END after a semicolon: https://www.sqlite.org/c3ref/complete.html
 */
function inTrigger(tokens: readonly Token[]): boolean {
  const words = tokens.slice(0, 3).map(({ text }) => text.toUpperCase());
  const trigger =
    words[0] === "CREATE" &&
    (words[1] === "TRIGGER" || (/^TEMP(ORARY)?$/.test(words[1] ?? "") && words[2] === "TRIGGER"));
  const [last, before] = [tokens.at(-1), tokens.at(-2)];
  return trigger && !(before?.kind === "semicolon" && last?.text.toUpperCase() === "END");
}
