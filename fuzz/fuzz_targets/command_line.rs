//! Any words as the agent's command line: read, printed or refused with a reason, and twice the same.
#![no_main]

use kansoku_agent::command_line::{CommandLine, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let words = || text.split('\n').map(str::to_owned);
    let first = parse(words());
    match &first {
        Err(reason) => assert!(!reason.is_empty()),
        Ok(CommandLine::Print(text)) => assert!(!text.is_empty()),
        Ok(CommandLine::Run(invocation)) => {
            let settings = invocation.sections.iter().flat_map(|s| &s.settings);
            for setting in settings.chain(&invocation.service) {
                assert_eq!(setting.key, setting.key.to_ascii_lowercase());
            }
        }
    }
    assert_eq!(format!("{first:?}"), format!("{:?}", parse(words())));
});
