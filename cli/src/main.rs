//! The program `kansoku`; all of it is in the library.

fn main() -> std::process::ExitCode {
    kansoku_cli::main()
}
