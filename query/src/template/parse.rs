//! Template text to nodes.
//!
//! Errors are worded like Go's: `template: :1: function "x" not defined`.

use super::functions::{self, Function};
use super::value::Value;
use super::{Command, Condition, Language, Node, Operand, Pipeline};
use crate::logql::lexer::unquote;

/// The deepest nesting of blocks and parentheses: each level is a call on the stack.
const DEPTH_MAX: usize = 32;

/// A token inside `{{ }}`.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// `.a`, `.a.b`, `.`
    Field(Vec<String>),
    /// `$x`, `$x.a`
    Variable(String, Vec<String>),
    Literal(Value),
    Open,
    /// `)` and the fields that follow it.
    Close(Vec<String>),
    Pipe,
    Comma,
    Assign,
    /// Reassignment of a variable.
    Set,
}

enum Piece {
    Text(String),
    Action(Vec<Token>, usize),
}

/// Named templates.
type Named = Vec<(String, Vec<Node>)>;

/// Reads a whole template: its own nodes and those of the templates it defines.
pub fn parse(name: &str, text: &str, language: Language) -> Result<(Vec<Node>, Named), String> {
    let told = |fault: Fault| format!("template: {name}:{}: {}", fault.line, fault.message);
    let mut parser = Parser {
        pieces: pieces(text).map_err(told)?.into_iter(),
        language,
        variables: Vec::new(),
        named: Vec::new(),
        depth: 0,
        n_loops: 0,
    };
    let (nodes, end) = parser.nodes().map_err(told)?;
    match end {
        None => Ok((nodes, parser.named)),
        Some((word, line)) => Err(told(fault(line, &format!("unexpected {{{{{word}}}}}")))),
    }
}

/// What is wrong with which line.
struct Fault {
    line: usize,
    message: String,
}

fn fault(line: usize, message: &str) -> Fault {
    Fault {
        line,
        message: message.to_owned(),
    }
}

/// Cuts a template into text and actions, with `{{-` and `-}}` trimming the text beside them.
fn pieces(text: &str) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_start = false;
    let line_at = |rest: &str| 1 + text[..text.len() - rest.len()].matches('\n').count();
    loop {
        let at = rest.find("{{");
        let mut literal = &rest[..at.unwrap_or(rest.len())];
        if trim_start {
            literal = literal.trim_start();
        }
        let Some(at) = at else {
            if !literal.is_empty() {
                pieces.push(Piece::Text(literal.to_owned()));
            }
            return Ok(pieces);
        };
        let line = line_at(&rest[at..]);
        let mut inside = &rest[at + 2..];
        if let Some(after) = inside.strip_prefix('-')
            && after.starts_with(char::is_whitespace)
        {
            inside = after;
            literal = literal.trim_end();
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.to_owned()));
        }
        let end = action_end(inside).ok_or_else(|| fault(line, "unclosed action"))?;
        rest = &inside[end + 2..];
        let mut action = &inside[..end];
        trim_start = false;
        if let Some(before) = action.strip_suffix('-')
            && before.ends_with(char::is_whitespace)
        {
            action = before;
            trim_start = true;
        }
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            let tokens = tokens(action).map_err(|e| fault(line, &e))?;
            pieces.push(Piece::Action(tokens, line));
        }
    }
}

/// Where the `}}` stands that ends an action, texts skipped.
fn action_end(inside: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in inside.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(c),
            (None, '}') if inside[i..].starts_with("}}") => return Some(i),
            (None, _) => {}
        }
    }
    None
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Takes `.a.b` from the start of `rest`.
fn fields(rest: &mut &str) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(after) = rest.strip_prefix('.') {
        let len = after.find(|c| !is_name(c)).unwrap_or(after.len());
        if len == 0 {
            break;
        }
        path.push(after[..len].to_owned());
        *rest = &after[len..];
    }
    path
}

fn tokens(action: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = action;
    loop {
        rest = rest.trim_start();
        let Some(c) = rest.chars().next() else {
            return Ok(tokens);
        };
        let name_len = |from: &str| from.find(|c| !is_name(c)).unwrap_or(from.len());
        match c {
            '(' => {
                tokens.push(Token::Open);
                rest = &rest[1..];
            }
            ')' => {
                rest = &rest[1..];
                tokens.push(Token::Close(fields(&mut rest)));
            }
            '|' => {
                tokens.push(Token::Pipe);
                rest = &rest[1..];
            }
            ':' if rest.starts_with(":=") => {
                tokens.push(Token::Assign);
                rest = &rest[2..];
            }
            ',' => {
                tokens.push(Token::Comma);
                rest = &rest[1..];
            }
            '=' => {
                tokens.push(Token::Set);
                rest = &rest[1..];
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let path = fields(&mut rest);
                if path.is_empty() {
                    rest = &rest[1..];
                }
                tokens.push(Token::Field(path));
            }
            '$' => {
                let len = name_len(&rest[1..]);
                let name = rest[..=len].to_owned();
                rest = &rest[1 + len..];
                tokens.push(Token::Variable(name, fields(&mut rest)));
            }
            '"' => {
                let end = text_end(rest).ok_or("unterminated quoted string")?;
                let text = unquote(&rest[1..end])?;
                tokens.push(Token::Literal(Value::Text(text)));
                rest = &rest[end + 1..];
            }
            '`' => {
                let end = rest[1..]
                    .find('`')
                    .ok_or("unterminated raw quoted string")?;
                tokens.push(Token::Literal(rest[1..=end].into()));
                rest = &rest[end + 2..];
            }
            '0'..='9' | '-' | '+' | '.' => {
                let len = rest
                    .find(|c: char| !(is_name(c) || matches!(c, '.' | '-' | '+')))
                    .unwrap_or(rest.len());
                tokens.push(Token::Literal(number(&rest[..len])?));
                rest = &rest[len..];
            }
            c if is_name(c) => {
                let len = name_len(rest);
                tokens.push(match &rest[..len] {
                    "true" => Token::Literal(Value::Bool(true)),
                    "false" => Token::Literal(Value::Bool(false)),
                    "nil" => Token::Literal(Value::Nil),
                    word => Token::Word(word.to_owned()),
                });
                rest = &rest[len..];
            }
            c => return Err(format!("unexpected {c:?} in operand")),
        }
    }
}

/// Where the text that starts `rest` has its closing quote.
fn text_end(rest: &str) -> Option<usize> {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(i),
            _ => {}
        }
    }
    None
}

fn number(text: &str) -> Result<Value, String> {
    if let Ok(n) = text.parse::<i64>() {
        return Ok(Value::Int(n));
    }
    if let Some(hex) = text.strip_prefix("0x")
        && let Ok(n) = i64::from_str_radix(hex, 16)
    {
        return Ok(Value::Int(n));
    }
    text.parse()
        .map(Value::Float)
        .map_err(|_| format!("bad number syntax: {text:?}"))
}

struct Parser<I: Iterator<Item = Piece>> {
    pieces: I,
    language: Language,
    variables: Vec<String>,
    named: Named,
    depth: usize,
    /// Loops around the current place.
    n_loops: usize,
}

/// `else` with what follows it, or `end`, and the line it stands on.
type BlockEnd = Option<(String, usize)>;

/// The kinds of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    If,
    With,
    Range,
}

impl<I: Iterator<Item = Piece>> Parser<I> {
    /// Nodes up to an `else` or `end`, or to the end of the template.
    fn nodes(&mut self) -> Result<(Vec<Node>, BlockEnd), Fault> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, line) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, line) => (tokens, line),
            };
            let word = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            match word {
                "end" if tokens.len() == 1 => return Ok((nodes, Some(("end".into(), line)))),
                "else" => {
                    let mut end = "else".to_owned();
                    if let [_, Token::Word(next), condition @ ..] = tokens.as_slice()
                        && let Some(block) = block_of(next)
                        && block != Block::Range
                    {
                        // `{{else if x}}` is `{{else}}{{if x}}` with one `end` for both.
                        let branch = self.block(condition, line, block)?;
                        nodes.push(branch);
                        end = "else if".to_owned();
                    } else if tokens.len() > 1 {
                        return Err(fault(line, "unexpected operand in else"));
                    }
                    return Ok((nodes, Some((end, line))));
                }
                "break" | "continue" if tokens.len() == 1 => {
                    if self.n_loops == 0 {
                        let message = format!("{{{{{word}}}}} outside {{{{range}}}}");
                        return Err(fault(line, &message));
                    }
                    nodes.push(if word == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    });
                }
                "define" => self.define(&tokens[1..], line)?,
                "template" => nodes.push(self.call(&tokens[1..], line)?),
                "block" => {
                    nodes.push(self.call(&tokens[1..], line)?);
                    self.define(&tokens[1..2], line)?;
                }
                _ => match block_of(word) {
                    Some(block) => nodes.push(self.block(&tokens[1..], line, block)?),
                    None => nodes.push(self.action(&tokens, line)?),
                },
            }
        }
        Ok((nodes, None))
    }

    fn block(&mut self, condition: &[Token], line: usize, block: Block) -> Result<Node, Fault> {
        self.deeper(line)?;
        let n_variables = self.variables.len();
        let condition = self.condition(condition, line, block)?;
        self.n_loops += usize::from(block == Block::Range);
        let (mut yes, mut end) = self.nodes()?;
        self.n_loops -= usize::from(block == Block::Range);
        let mut no = Vec::new();
        if let Some((word, _)) = &end {
            match word.as_str() {
                "else" => (no, end) = self.nodes()?,
                // The inner `if` was read by `nodes`, which left it at the end of the branch, and
                // its `end` is this block's as well.
                "else if" => no.extend(yes.pop()),
                _ => {}
            }
        }
        self.variables.truncate(n_variables);
        self.depth -= 1;
        match end {
            Some((word, _)) if word != "else" => Ok(match block {
                Block::If => Node::If(condition, yes, no),
                Block::With => Node::With(condition, yes, no),
                Block::Range => Node::Range(condition, yes, no),
            }),
            Some((_, line)) => Err(fault(line, "unexpected {{else}}")),
            None => Err(fault(line, "unexpected EOF")),
        }
    }

    fn deeper(&mut self, line: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(fault(line, &format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(())
    }

    /// `pipeline`, `$x := pipeline` or, of `range`, `$i, $x := pipeline`.
    fn condition(
        &mut self,
        tokens: &[Token],
        line: usize,
        block: Block,
    ) -> Result<Condition, Fault> {
        let plain = |token: &Token| match token {
            Token::Variable(name, path) if path.is_empty() => Some(name.clone()),
            _ => None,
        };
        let mut variables = Vec::new();
        let mut rest = tokens;
        match tokens {
            [first, Token::Comma, second, Token::Assign, after @ ..] if block == Block::Range => {
                variables.extend(plain(first));
                variables.extend(plain(second));
                rest = after;
            }
            [first, Token::Assign, after @ ..] => {
                variables.extend(plain(first));
                rest = after;
            }
            _ => {}
        }
        let pipeline = self.pipeline(rest, line)?;
        self.variables.extend(variables.iter().cloned());
        Ok(Condition {
            variables,
            pipeline,
        })
    }

    /// `{{ define "name" }} .. {{ end }}`, the name given.
    fn define(&mut self, tokens: &[Token], line: usize) -> Result<(), Fault> {
        let [Token::Literal(Value::Text(name))] = tokens else {
            return Err(fault(line, "unexpected operand in define clause"));
        };
        self.deeper(line)?;
        let outer = (std::mem::take(&mut self.variables), self.n_loops);
        self.n_loops = 0;
        let (nodes, end) = self.nodes()?;
        (self.variables, self.n_loops) = outer;
        self.depth -= 1;
        match end {
            Some((word, _)) if word == "end" => {
                self.named.retain(|(known, _)| known != name);
                self.named.push((name.clone(), nodes));
                Ok(())
            }
            Some((word, line)) => Err(fault(line, &format!("unexpected {{{{{word}}}}}"))),
            None => Err(fault(line, "unexpected EOF")),
        }
    }

    /// `"name" pipeline`
    fn call(&self, tokens: &[Token], line: usize) -> Result<Node, Fault> {
        let [Token::Literal(Value::Text(name)), data @ ..] = tokens else {
            return Err(fault(line, "unexpected operand in template clause"));
        };
        let data = match data {
            [] => None,
            data => Some(self.pipeline(data, line)?),
        };
        Ok(Node::Call(name.clone(), data))
    }

    fn action(&mut self, tokens: &[Token], line: usize) -> Result<Node, Fault> {
        if let [Token::Variable(name, path), operator, rest @ ..] = tokens
            && path.is_empty()
            && matches!(operator, Token::Assign | Token::Set)
        {
            let pipeline = self.pipeline(rest, line)?;
            if *operator == Token::Assign {
                self.variables.push(name.clone());
                return Ok(Node::Declare(name.clone(), pipeline));
            }
            if !self.variables.contains(name) {
                return Err(fault(line, &format!("undefined variable {name:?}")));
            }
            return Ok(Node::Assign(name.clone(), pipeline));
        }
        Ok(Node::Print(self.pipeline(tokens, line)?))
    }

    fn pipeline(&self, tokens: &[Token], line: usize) -> Result<Pipeline, Fault> {
        let mut rest = tokens;
        let pipeline = self.commands(&mut rest, line, 0)?;
        if rest.is_empty() {
            Ok(pipeline)
        } else {
            Err(fault(line, "unexpected right paren"))
        }
    }

    /// Commands up to the end or to a closing parenthesis, which is left.
    fn commands(&self, rest: &mut &[Token], line: usize, depth: usize) -> Result<Pipeline, Fault> {
        if depth > DEPTH_MAX {
            return Err(fault(line, &format!("nested deeper than {DEPTH_MAX}")));
        }
        let mut pipeline = Vec::new();
        loop {
            let command = self.command(rest, line, depth, !pipeline.is_empty())?;
            pipeline.push(command);
            match rest.split_first() {
                Some((Token::Pipe, after)) => *rest = after,
                _ => return Ok(pipeline),
            }
        }
    }

    fn command(
        &self,
        rest: &mut &[Token],
        line: usize,
        depth: usize,
        piped: bool,
    ) -> Result<Command, Fault> {
        let mut function: Option<&'static Function> = None;
        let mut operands = Vec::new();
        while let Some((token, after)) = rest.split_first() {
            let operand = match token {
                Token::Pipe | Token::Close(_) => break,
                Token::Word(word) if function.is_none() && operands.is_empty() => {
                    function = Some(self.function(word, line)?);
                    *rest = after;
                    continue;
                }
                // A function as an argument is called without arguments of its own.
                Token::Word(word) => {
                    let function = self.function(word, line)?;
                    let call = Command::Call(function, Vec::new());
                    Operand::Nested(vec![call], Vec::new())
                }
                Token::Literal(value) => Operand::Literal(value.clone()),
                Token::Field(path) if path.is_empty() => Operand::Dot,
                Token::Field(path) => Operand::Field(path.clone()),
                Token::Variable(name, path) => {
                    if name != "$" && !self.variables.contains(name) {
                        return Err(fault(line, &format!("undefined variable {name:?}")));
                    }
                    Operand::Variable(name.clone(), path.clone())
                }
                Token::Open => {
                    *rest = after;
                    let inner = self.commands(rest, line, depth + 1)?;
                    let Some((Token::Close(path), after)) = rest.split_first() else {
                        return Err(fault(line, "unclosed left paren"));
                    };
                    *rest = after;
                    operands.push(Operand::Nested(inner, path.clone()));
                    continue;
                }
                Token::Assign | Token::Set => {
                    return Err(fault(line, "unexpected \":=\" in operand"));
                }
                Token::Comma => return Err(fault(line, "unexpected \",\" in operand")),
            };
            operands.push(operand);
            *rest = after;
        }
        match function {
            Some(function) => Ok(Command::Call(function, operands)),
            None if operands.is_empty() => Err(fault(line, "missing value for command")),
            None if operands.len() > 1 || piped => {
                // Fields may be methods: whether they are shows when there is a value.
                match without_last(operands.remove(0)) {
                    Some((of, name)) => Ok(Command::Method(of, name, operands)),
                    None => Err(fault(line, "can't give argument to non-function")),
                }
            }
            None => Ok(Command::Operand(operands.remove(0))),
        }
    }

    fn function(&self, word: &str, line: usize) -> Result<&'static Function, Fault> {
        functions::find(self.language, word)
            .ok_or_else(|| fault(line, &format!("function {word:?} not defined")))
    }
}

/// An operand without the last name of its path, and that name.
fn without_last(operand: Operand) -> Option<(Operand, String)> {
    match operand {
        Operand::Literal(_) | Operand::Dot => None,
        Operand::Field(mut path) => {
            let name = path.pop()?;
            let of = match path.is_empty() {
                true => Operand::Dot,
                false => Operand::Field(path),
            };
            Some((of, name))
        }
        Operand::Variable(variable, mut path) => {
            let name = path.pop()?;
            Some((Operand::Variable(variable, path), name))
        }
        Operand::Nested(inner, mut path) => {
            let name = path.pop()?;
            Some((Operand::Nested(inner, path), name))
        }
    }
}

fn block_of(word: &str) -> Option<Block> {
    match word {
        "if" => Some(Block::If),
        "with" => Some(Block::With),
        "range" => Some(Block::Range),
        _ => None,
    }
}
