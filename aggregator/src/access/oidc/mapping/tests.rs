//! Tests of what claims make of a user.

use serde_json::json;

use super::*;

fn rule(claim: &str, values: &[&str], role: Role, namespaces: &[&str]) -> Rule {
    let patterns = values.iter().map(|v| Pattern::new(v).expect("a pattern"));
    Rule {
        claim: (!claim.is_empty()).then(|| ClaimPath::of_text(claim).expect("a path")),
        patterns: patterns.collect(),
        role,
        tenants: Vec::new(),
        namespaces: namespaces.iter().map(|n| (*n).to_owned()).collect(),
    }
}

fn shown(mapping: &Mapping, claims: &Value) -> String {
    match mapping.grant(claims.as_object().expect("an object")) {
        Ok(grant) => format!(
            "{} {} {}",
            grant.role.name(),
            grant.tenants.join(","),
            grant.namespaces.join(",")
        ),
        Err(NotAllowed(why)) => why,
    }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let mapping = Mapping {
        rules: vec![
            rule("groups", &["kansoku-admins?"], Role::Admin, &[]),
            rule("realm_access.roles", &["editor"], Role::Editor, &[]),
            rule("https://x.test/roles", &["editor"], Role::Editor, &[]),
            rule("email", &[".*@ops[.]test"], Role::Editor, &[]),
            rule("groups", &["team-(.*)"], Role::Viewer, &["$1", "$1-.*"]),
            rule("level", &["7|true"], Role::Viewer, &[]),
        ],
        ..Mapping::default()
    };
    for (claims, expected) in [
        (json!({"groups": ["a", "kansoku-admin"]}), "admin  "),
        (json!({"groups": "kansoku-admins"}), "admin  "),
        (json!({"groups": ["xkansoku-admins"]}), "no rule fits"),
        (json!({"groups": ["kansoku-admins\n"]}), "no rule fits"),
        (json!({"groups": {"kansoku-admins": true}}), "no rule fits"),
        (json!({"groups": [["kansoku-admins"]]}), "no rule fits"),
        (json!({"realm_access": {"roles": ["editor"]}}), "editor  "),
        (json!({"realm_access.roles": ["editor"]}), "editor  "),
        (json!({"https://x.test/roles": ["editor"]}), "editor  "),
        (
            json!({"email": "a@ops.test", "email_verified": true}),
            "editor  ",
        ),
        (json!({"email": "a@ops.test"}), "no rule fits"),
        (
            json!({"email": "a@ops.test", "email_verified": false}),
            "no rule fits",
        ),
        (json!({"groups": ["team-shop"]}), "viewer  shop,shop-.*"),
        (
            json!({"groups": ["team-b", "team-a", "x"]}),
            "viewer  a,a-.*,b,b-.*",
        ),
        // What a claim brings in is no pattern.
        (json!({"groups": ["team-.*"]}), r"viewer  \.\*,\.\*-.*"),
        (json!({"groups": ["team-"]}), "the claim names no namespace"),
        (json!({"level": 7}), "viewer  "),
        (json!({"level": true}), "viewer  "),
        (json!({}), "no rule fits"),
    ] {
        assert_eq!(shown(&mapping, &claims), expected, "{claims}");
    }
}

#[test]
fn domains_and_groups_come_before_the_rules() {
    let mapping = Mapping {
        allowed_domains: vec!["x.test".into()],
        allowed_groups: vec![Pattern::new("staff|ops-.*").expect("a pattern")],
        rules: vec![rule("", &[], Role::Viewer, &[])],
        ..Mapping::default()
    };
    let careless = Mapping {
        accepts_unverified_email: true,
        ..mapping.clone()
    };
    for (email, verified, groups, expected) in [
        ("a@x.test", json!(true), json!(["staff"]), "viewer  "),
        ("a@X.Test", json!("true"), json!(["ops-1"]), "viewer  "),
        ("a@x.test", json!(true), json!(["staff2"]), "no group is in"),
        ("a@x.test", json!(true), json!(null), "no group is in"),
        ("a@y.test", json!(true), json!(["staff"]), "domain 'y.test'"),
        ("a@sub.x.test", json!(true), json!(["staff"]), "domain"),
        (
            "a@x.test@y.test",
            json!(true),
            json!(["staff"]),
            "domain 'y.test'",
        ),
        ("a@x.test", json!(false), json!(["staff"]), "email_verified"),
        ("a@x.test", json!(null), json!(["staff"]), "email_verified"),
        ("", json!(true), json!(["staff"]), "email"),
    ] {
        let claims = json!({"email": email, "email_verified": verified, "groups": groups});
        let found = shown(&mapping, &claims);
        assert!(found.contains(expected), "{claims}: {found}");
    }
    let claims = json!({"email": "a@x.test", "groups": "staff"});
    assert_eq!(shown(&careless, &claims), "viewer  ");
}

#[test]
fn tenants_of_a_claim_are_names_of_tenants() {
    let mut by_tenant = rule("tenant", &["(.*)"], Role::Editor, &[]);
    by_tenant.tenants = vec!["$1".into()];
    assert_eq!(by_tenant.check(), Ok(()));
    let mapping = Mapping {
        rules: vec![by_tenant],
        ..Mapping::default()
    };
    for (claims, expected) in [
        (json!({"tenant": "a"}), "editor a "),
        (json!({"tenant": ["b", "a"]}), "editor a,b "),
        (json!({"tenant": ""}), "the claim names no tenant"),
        (json!({"tenant": "../a"}), "tenant '../a'"),
    ] {
        let found = shown(&mapping, &claims);
        assert!(found.starts_with(expected), "{claims}: {found}");
    }
}

#[test]
fn rules_that_cannot_be_followed_are_refused() {
    for (rule, expected) in [
        (
            rule("g", &["a"], Role::Viewer, &["$1"]),
            "$1 stands for group 1",
        ),
        (
            rule("g", &["(a)", "b"], Role::Viewer, &["x-$1"]),
            "one of them has 0",
        ),
        (rule("g", &["(a)"], Role::Editor, &["$1"]), "role editor"),
        (rule("", &[], Role::Viewer, &[".*"]), "has no namespace"),
        (rule("g", &["a"], Role::Viewer, &["a$"]), ""),
        (rule("g", &["(a)(b)"], Role::Viewer, &["$2-$1"]), ""),
    ] {
        match rule.check() {
            Ok(()) => assert_eq!(expected, ""),
            Err(why) => assert!(!expected.is_empty() && why.contains(expected), "{why}"),
        }
    }
    assert!(Pattern::new("a)|(.*").is_err());
}

#[test]
fn names_are_words() {
    let named = Mapping {
        name_claim: Some(ClaimPath::of_text("user.nick").expect("a path")),
        ..Mapping::default()
    };
    for (mapping, claims, expected) in [
        (Mapping::default(), json!({"sub": "1"}), "1"),
        (
            Mapping::default(),
            json!({"sub": "1", "email": "a@b"}),
            "a@b",
        ),
        (
            Mapping::default(),
            json!({"preferred_username": "al\u{7}ice\n", "sub": "1"}),
            "alice",
        ),
        (
            named.clone(),
            json!({"user": {"nick": "al"}, "sub": "1"}),
            "al",
        ),
        (named, json!({"sub": "1"}), "1"),
    ] {
        let name = mapping.name(claims.as_object().expect("an object"));
        assert_eq!(name, expected, "{claims}");
    }
}
