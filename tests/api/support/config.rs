//! Configuration for tests: the defaults of the command line, without the environment.

/// A section of the configuration from `args`: `settings::<GraphqlConfig>(&["--max-depth=5"])`.
pub fn settings<T: clap::Args>(args: &[&str]) -> T {
    let command = T::augment_args(clap::Command::new("callscope").no_binary_name(true));
    let command = command.mut_args(|arg| arg.env(None::<&str>));
    let found = command.try_get_matches_from(args).unwrap_or_else(|error| panic!("{error}"));
    T::from_arg_matches(&found).unwrap_or_else(|error| panic!("{error}"))
}
