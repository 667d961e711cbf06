use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn refused(line: &str) -> String {
    let error = parse(line).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{line}");
    error.to_string()
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

/// What users read is held by a golden file.
#[test]
fn help_texts() {
    let mut text = String::new();
    let mut cli = Cli::command().term_width(100);
    cli.build();
    write_help(&mut cli, &mut text);
    insta::assert_snapshot!(text);
}

fn write_help(command: &mut clap::Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or("sluice").to_owned();
    *text += &format!("$ {name} --help\n{}\n", command.render_long_help());
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        write_help(inner, text);
    }
}

#[test]
fn run_has_defaults() {
    let Command::Run(args) = parse("sluice run s.yaml").unwrap().command else { panic!("not run") };
    assert_eq!(args.status.to_string(), "127.0.0.1:9901");
    assert!(args.workers.get() >= 1);
}

#[test]
fn the_colour_may_stand_anywhere() {
    assert_eq!(parse("sluice check s.yaml --color never").unwrap().color, Color::Never);
    assert_eq!(parse("sluice --color always check s.yaml").unwrap().color, Color::Always);
}

#[test]
fn an_explained_request_has_a_method_or_not() {
    let request = |line: &str| {
        let Command::Explain(args) = parse(line).unwrap().command else { panic!("not explain") };
        let (file, words) = args.split();
        assert_eq!(file.is_none(), line.contains("--live"));
        (words.to_vec(), args.header.len())
    };
    assert_eq!(request("sluice explain s.yaml http://a/b"), (vec!["http://a/b".to_owned()], 0));
    let (words, headers) = request("sluice explain s.yaml POST http://a/b -H x:1 -H y:2");
    assert_eq!((words.len(), headers), (2, 2));
    assert_eq!(request("sluice explain --live POST http://a/b --status 127.0.0.1:1").0.len(), 2);
    assert!(refused("sluice explain").contains("URL"));
    assert!(refused("sluice explain s.yaml http://a/b --status 127.0.0.1:1").contains("--live"));
}

#[test]
fn usage_errors_say_what_is_possible() {
    assert!(refused("sluice check s.yaml --output xml").contains("table, json, yaml"));
    assert!(refused("sluice run s.yaml --workers 0").contains("at least 1"));
    assert!(refused("sluice run s.yaml --workers -1").contains("-1"));
    assert!(refused("sluice run s.yaml --workers many").contains("from 1 to 1024"));
    assert!(refused("sluice demo --workers 99999").contains("at most 1024"));
    assert!(refused("sluice run s.yaml --status localhost:9901").contains("such as 127.0.0.1:9901"));
    assert!(refused("sluice run s.yaml --log-level blah").contains("off, error, warn, info, debug, trace"));
    assert!(refused("sluice demo --for 5s").contains("20 s"));
    assert!(refused("sluice demo --for 30").contains("unit"));
    assert!(refused("sluice demo --slow mars/v1=1s").contains("us-east-1"));
    assert!(refused("sluice explain s.yaml http://a/ -H nocolon").contains("NAME: VALUE"));
    assert_eq!(parse("sluice").unwrap_err().kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
}

#[test]
fn help_of_help_is_help() {
    let parsed = |line: &str| Cli::try_parse_from(arguments(line.split_whitespace().map(OsString::from)));
    for line in ["sluice help --help", "sluice help -h", "sluice help", "sluice help run", "sluice run --help"] {
        assert_eq!(parsed(line).unwrap_err().kind(), ErrorKind::DisplayHelp, "{line}");
    }
    assert_eq!(parsed("sluice help --hlep").unwrap_err().exit_code(), 2);
}

#[test]
fn operators_commands_say_what_is_possible() {
    assert!(refused("sluice shift shop v2=5").contains("percent"));
    assert!(refused("sluice shift shop v2").contains("v2=5%"));
    assert!(refused("sluice shift shop v2=150%").contains("more than 100%"));
    assert!(refused("sluice shift shop").contains("VERSION=SHARE"));
    assert!(refused("sluice shift shop v2=5% --release").contains("--release"));
    assert!(refused("sluice shift shop v2=5% --for 2").contains("2h"));
    assert!(refused("sluice shift shop v2=5% --wait=half").contains("5%"));
    assert!(refused("sluice apply").contains("FILE"));
    assert!(refused("sluice apply s.yaml --if-revision zero").contains("from 1"));
    assert!(refused("sluice apply s.yaml --timeout soon").contains("30m"));
    assert!(refused("sluice apply s.yaml --dry-run --wait").contains("--wait"));
    assert!(refused("sluice rollback 0").contains("from 1"));
    assert!(refused("sluice rollback").contains("<N>"));
    assert!(refused("sluice freeze --for 2h").contains("--reason"));
    assert!(refused("sluice freeze --reason x").contains("--for"));
    assert!(refused("sluice endpoint force shop 10.0.0.1:80 out --reason x").contains("--for"));
    assert!(refused("sluice endpoint force shop 10.0.0.1:80 out --for 2h").contains("--reason"));
    assert!(refused("sluice endpoint force shop 10.0.0.1 out --for 2h --reason x").contains("10.0.1.10:8080"));
    assert!(refused("sluice endpoint force shop 10.0.0.1:80 off --for 2h --reason x").contains("in, out"));
    assert!(refused("sluice breaker force shop v1 shut --for 2h --reason x").contains("open, closed"));
    assert!(refused("sluice breaker force shop --for 2h --reason x").contains("open"));
    assert!(refused("sluice get endpoints --status nowhere").contains("127.0.0.1:9901"));
    assert!(refused("sluice diff 1 2 3").contains('3'));
    assert!(refused("sluice history --limit 0").contains("1..=500"));
    assert!(refused("sluice get pods").contains("pods"));
    assert!(refused("sluice status --server edge.test").contains("https://HOST:PORT"));
    assert!(refused("sluice status --server http://edge.test:9900").contains("https://"));
    assert!(refused("sluice token ann owner").contains("viewer, operator, admin, node"));
    assert!(refused("sluice token an/n viewer").contains("'/'"));
    assert!(refused("sluice audit --limit 5000").contains("1..=1000"));
    assert!(refused("sluice control --admin localhost:9900").contains("unix:PATH"));
    assert!(refused("sluice control --admin-cert c.pem").contains("--admin-key"));
}

#[test]
fn waiting_is_for_all_unless_a_share_is_given() {
    let wait = |line: &str| {
        let Command::Apply(args) = parse(line).unwrap().command else { panic!("not apply") };
        args.wait.wait.map(|share| share.to_string())
    };
    assert_eq!(wait("sluice apply s.yaml"), None);
    assert_eq!(wait("sluice apply --wait s.yaml").as_deref(), Some("100%"));
    assert_eq!(wait("sluice apply s.yaml --wait=50%").as_deref(), Some("50%"));
}
