//! XML-RPC as supervisord speaks it: a call without parameters, and an answer that is a list of flat
//! structs.
//!
//! Not here: other answers. Values are given as their text, whatever their type says.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use super::WireError;

/// Structs of one answer at the most; a supervisor has some dozens of processes.
const MAX_STRUCTS: usize = 1 << 16;

/// The members of a struct by name.
pub type Struct = BTreeMap<String, String>;

/// The body of a call of `method`, whose name needs no escapes.
#[must_use]
pub fn call(method: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName><params></params></methodCall>"
    )
}

/// The structs of an answer in their order.
///
/// # Errors
/// When the body is no such answer, or tells of a fault.
pub fn structs(body: &str) -> Result<Vec<Struct>, WireError> {
    let mut reader = Reader::from_str(body);
    let mut answer = Answer::default();
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(body.len());
        let wrong = |what: String| WireError::new(at, what);
        let event = reader.read_event().map_err(|e| wrong(e.to_string()))?;
        match event {
            Event::Start(element) => answer.open(element.name().as_ref()).map_err(wrong)?,
            Event::End(element) => answer.close(element.name().as_ref()),
            Event::Text(text) => answer.text += &text.decode().map_err(|e| wrong(e.to_string()))?,
            Event::CData(text) => {
                answer.text += &text.decode().map_err(|e| wrong(e.to_string()))?;
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|e| wrong(e.to_string()))?;
                match reference.resolve_char_ref() {
                    Ok(Some(letter)) => answer.text.push(letter),
                    _ => {
                        let entity = resolve_predefined_entity(&name);
                        let entity = entity.ok_or_else(|| wrong(format!("entity '{name}'")));
                        answer.text += entity?;
                    }
                }
            }
            Event::Eof => return answer.finish().map_err(wrong),
            // An empty element is a value without text; the rest says nothing.
            Event::Empty(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {}
        }
    }
}

#[derive(Default)]
struct Answer {
    is_response: bool,
    is_fault: bool,
    /// How many structs are open.
    depth: usize,
    structs: Vec<Struct>,
    /// The name of the member that is open.
    name: String,
    /// Since the last element was opened.
    text: String,
}

impl Answer {
    fn open(&mut self, element: &[u8]) -> Result<(), String> {
        self.text.clear();
        match element {
            b"methodResponse" => self.is_response = true,
            b"fault" => self.is_fault = true,
            b"struct" => {
                self.depth += 1;
                if self.depth > 1 {
                    return Err("a struct in a struct".to_owned());
                }
                if self.structs.len() == MAX_STRUCTS {
                    return Err(format!("more than {MAX_STRUCTS} structs"));
                }
                self.structs.push(Struct::new());
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, element: &[u8]) {
        match element {
            b"struct" => self.depth -= 1,
            b"name" => self.name = std::mem::take(&mut self.text),
            b"value" => {
                if let (1, Some(members)) = (self.depth, self.structs.last_mut()) {
                    let name = std::mem::take(&mut self.name);
                    members.insert(name, std::mem::take(&mut self.text));
                }
            }
            _ => {}
        }
    }

    fn finish(self) -> Result<Vec<Struct>, String> {
        if !self.is_response {
            return Err("no methodResponse".to_owned());
        }
        if self.is_fault {
            let fault = self.structs.into_iter().next().unwrap_or_default();
            let member = |name| fault.get(name).map_or("", String::as_str);
            return Err(format!(
                "fault {}: {}",
                member("faultCode"),
                member("faultString")
            ));
        }
        Ok(self.structs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(values: &str) -> String {
        format!(
            "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><array><data>\n{values}</data></array></value>\n</param>\n</params>\n</methodResponse>\n"
        )
    }

    #[test]
    fn structs_with_numbers_texts_and_entities() {
        let body = answer(
            "<value><struct>\n<member>\n<name>name</name>\n<value><string>a &lt;b&gt; &#233;</string></value>\n</member>\n\
             <member>\n<name>state</name>\n<value><int>20</int></value>\n</member>\n\
             <member>\n<name>spawnerr</name>\n<value><string></string></value>\n</member>\n</struct></value>\n\
             <value><struct><member><name>name</name><value>plain</value></member></struct></value>\n",
        );
        let structs = structs(&body).expect("an answer");
        assert_eq!(structs.len(), 2);
        assert_eq!(structs[0]["name"], "a <b> é");
        assert_eq!(structs[0]["state"], "20");
        assert_eq!(structs[0]["spawnerr"], "");
        assert_eq!(structs[1]["name"], "plain");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let fault = "<methodResponse><fault><value><struct>\
            <member><name>faultCode</name><value><int>6</int></value></member>\
            <member><name>faultString</name><value><string>SHUTDOWN_STATE</string></value></member>\
            </struct></value></fault></methodResponse>";
        for (body, expected) in [
            (fault, "fault 6: SHUTDOWN_STATE"),
            ("", "no methodResponse"),
            ("<html></html>", "no methodResponse"),
            ("<methodResponse></params></methodResponse>", "params"),
            (
                "<methodResponse><struct><value><struct></struct></value></struct></methodResponse>",
                "a struct in a struct",
            ),
            ("<methodResponse>&nbsp;</methodResponse>", "entity 'nbsp'"),
        ] {
            let error = structs(body).expect_err(body).to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
        assert_eq!(structs(&answer("")).expect("an empty list"), []);
    }
}
