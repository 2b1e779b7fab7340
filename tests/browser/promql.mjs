/**
 * A very small PromQL: enough of it to answer the page's own queries over the synthetic series, and
 * to refuse the rest with a position as the real one does. It is no reference for anything.
 */
import { SERIES } from "./synthetic.mjs";

export class QueryError extends Error {}

const TOKEN =
  /\s*(?:(\d+(?:\.\d+)?(?:[smhd])?)|([a-zA-Z_:][\w:]*)|("(?:[^"\\]|\\.)*")|(=~|!~|!=|[-+*/(){}\[\],=]))/y;

function tokenize(text) {
  const tokens = [];
  TOKEN.lastIndex = 0;
  while (text.slice(TOKEN.lastIndex).trim() !== "") {
    const from = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) fail(text, from, `unexpected character: ${JSON.stringify(text[from])}`);
    const [, number, name, string, sign] = match;
    tokens.push({
      at: TOKEN.lastIndex - (number ?? name ?? string ?? sign).length,
      number,
      name,
      string,
      sign,
    });
  }
  return tokens;
}

function fail(text, at, problem) {
  const before = text.slice(0, at).split("\n");
  const place = `${before.length}:${before.at(-1).length + 1}`;
  throw new QueryError(`invalid parameter "query": ${place}: parse error: ${problem}`);
}

const DURATION = { s: 1, m: 60, h: 3600, d: 86400 };
const AGGREGATES = ["sum", "avg", "max", "min", "count", "group", "topk"];

/** Turns a query into a function from a time to samples or a number. */
export function compile(text) {
  const tokens = tokenize(text);
  let next = 0;
  const peek = (sign) => tokens[next]?.sign === sign;
  const stop = (what) =>
    fail(
      text,
      tokens[next]?.at ?? text.length,
      `unexpected ${tokens[next] ? "token" : "end of input"}, expected ${what}`,
    );
  const take = (sign) => {
    if (!peek(sign)) stop(JSON.stringify(sign));
    next += 1;
  };
  const names = () => {
    const list = [];
    take("(");
    while (!peek(")")) {
      list.push(tokens[next]?.name ?? stop("a label"));
      next += 1;
      if (!peek(")")) take(",");
    }
    take(")");
    return list;
  };

  function sum() {
    let left = product();
    for (;;) {
      const sign = ["+", "-"].find(peek);
      const word = tokens[next]?.name === "or" ? "or" : undefined;
      if (sign === undefined && word === undefined) return left;
      next += 1;
      left = word ? union(left, product()) : binary(sign, left, product());
    }
  }

  function product() {
    let left = primary();
    for (;;) {
      const sign = ["*", "/"].find(peek);
      if (sign === undefined) return left;
      next += 1;
      left = binary(sign, left, primary());
    }
  }

  function primary() {
    const token = tokens[next];
    if (token === undefined) stop("an expression");
    if (peek("(")) {
      next += 1;
      const inner = sum();
      take(")");
      return inner;
    }
    if (peek("{")) return select("");
    next += 1;
    if (token.number !== undefined) return () => Number(token.number);
    if (token.name === undefined) return fail(text, token.at, "unexpected token");
    if (token.name === "rate") return rate();
    if (AGGREGATES.includes(token.name)) return aggregate(token.name);
    if (peek("(")) return fail(text, token.at, `unknown function with name "${token.name}"`);
    return select(token.name);
  }

  function select(name) {
    const tests = name === "" ? [] : [(labels) => labels.__name__ === name];
    if (peek("{")) {
      take("{");
      while (!peek("}")) {
        const label = tokens[next]?.name ?? stop("a label");
        next += 1;
        const sign = tokens[next]?.sign;
        if (!["=", "!=", "=~", "!~"].includes(sign)) stop("a matcher");
        next += 1;
        const value = JSON.parse(tokens[next]?.string ?? stop("a string"));
        next += 1;
        const pattern = new RegExp(`^(?:${value})$`);
        const equal = sign.includes("~") ? (have) => pattern.test(have) : (have) => have === value;
        tests.push((labels) => equal(labels[label] ?? "") === !sign.startsWith("!"));
        if (!peek("}")) take(",");
      }
      take("}");
    }
    const chosen = SERIES.filter(({ labels }) => tests.every((test) => test(labels)));
    const at = (time) => chosen.map(({ labels, value }) => ({ labels, value: value(time) }));
    at.chosen = chosen;
    return at;
  }

  function rate() {
    take("(");
    const { chosen } = primary();
    take("[");
    const range = tokens[next]?.number ?? stop("a duration");
    next += 1;
    take("]");
    take(")");
    const seconds = Number.parseFloat(range) * DURATION[range.at(-1)];
    return (time) =>
      chosen.map(({ labels: { __name__: _, ...labels }, value }) => ({
        labels,
        value: (value(time) - value(time - seconds)) / seconds,
      }));
  }

  function aggregate(kind) {
    let by = null;
    const grouping = () => {
      if (tokens[next]?.name === "by") {
        next += 1;
        by = names();
      }
    };
    grouping();
    take("(");
    let count = 0;
    if (kind === "topk") {
      count = Number(tokens[next]?.number ?? stop("a number"));
      next += 1;
      take(",");
    }
    const inner = sum();
    take(")");
    if (by === null) grouping();
    if (kind === "topk") return (time) => [...inner(time)].sort((a, b) => b.value - a.value).slice(0, count);
    return (time) => {
      const groups = new Map();
      for (const { labels, value } of inner(time)) {
        const kept = Object.fromEntries(
          (by ?? []).filter((name) => labels[name]).map((name) => [name, labels[name]]),
        );
        const key = JSON.stringify(kept);
        if (!groups.has(key)) groups.set(key, { labels: kept, values: [] });
        groups.get(key).values.push(value);
      }
      return [...groups.values()].map(({ labels, values }) => ({ labels, value: fold(kind, values) }));
    };
  }

  const result = sum();
  if (next < tokens.length) stop("the end of the query");
  return result;
}

function fold(kind, values) {
  const total = values.reduce((a, b) => a + b, 0);
  return {
    sum: total,
    avg: total / values.length,
    max: Math.max(...values),
    min: Math.min(...values),
    count: values.length,
    group: 1,
  }[kind];
}

const union = (left, right) => (time) => {
  const first = left(time);
  const known = new Set(first.map(key));
  return [...first, ...right(time).filter((sample) => !known.has(key(sample)))];
};

function key({ labels: { __name__: _, ...labels } }) {
  return JSON.stringify(Object.entries(labels).sort());
}

function binary(sign, left, right) {
  const compute = { "+": (a, b) => a + b, "-": (a, b) => a - b, "*": (a, b) => a * b, "/": (a, b) => a / b }[
    sign
  ];
  return (time) => {
    const a = left(time);
    const b = right(time);
    if (typeof a === "number" && typeof b === "number") return compute(a, b);
    const unnamed = ({ __name__: _, ...labels }) => labels;
    if (typeof a === "number")
      return b.map(({ labels, value }) => ({ labels: unnamed(labels), value: compute(a, value) }));
    if (typeof b === "number")
      return a.map(({ labels, value }) => ({ labels: unnamed(labels), value: compute(value, b) }));
    const others = new Map(b.map((sample) => [key(sample), sample.value]));
    return a.flatMap((sample) =>
      others.has(key(sample))
        ? [{ labels: unnamed(sample.labels), value: compute(sample.value, others.get(key(sample))) }]
        : [],
    );
  };
}
