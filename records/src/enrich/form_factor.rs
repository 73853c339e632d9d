//! The kind of device that a person uses: by the system, then by what the device names.
//!
//! A word of a television set or a console counts in a browser's first brackets, which describe the
//! system, and after them only if no phone and no desktop is named: an app may have any name.

/// The kind of device, or empty text. `os` and `model` are those that the rules for user agents know.
pub(super) fn form_factor(user_agent: &str, os: &str, model: &str) -> &'static str {
    let system = system(user_agent);
    let is_phone = system.contains("Mobile") || user_agent.contains(" Mobile");
    let by_system = match os {
        "iOS" if model.starts_with("iPad") => "tablet",
        "iOS"
        | "Windows Phone"
        | "Windows Mobile"
        | "BlackBerry OS"
        | "Symbian OS"
        | "Firefox OS"
        | "KaiOS"
        | "Bada"
        | "Nokia Series 40"
        | "Nokia Series 30 Plus"
        | "MeeGo" => "mobile",
        "WatchOS" | "watchOS" => "wearable",
        "ATV OS X" | "tvOS" | "webOS TV" => "tv",
        "Android" | "HarmonyOS" if is_phone => "mobile",
        "Android" | "HarmonyOS" | "BlackBerry Tablet OS" => "tablet",
        "Windows" | "Mac OS X" | "Mac OS" | "Linux" | "Chrome OS" | "Ubuntu" | "Debian"
        | "Fedora" | "Red Hat" | "SUSE" | "Gentoo" | "Arch Linux" | "CentOS" | "Mageia"
        | "Linux Mint" | "Kubuntu" | "FreeBSD" | "OpenBSD" | "NetBSD" | "Solaris" => "desktop",
        // The rules for user agents do not have this system.
        _ if system.contains("OpenHarmony") && system.starts_with("Tablet") => "tablet",
        _ if system.contains("OpenHarmony") && system.starts_with("PC") => "desktop",
        _ => "",
    };
    let is_desktop = matches!(os, "Windows" | "Mac OS X" | "Chrome OS");
    let is_settled = is_desktop || by_system == "mobile" || by_system == "wearable" || os == "iOS";
    let described = if is_settled { system } else { user_agent };
    if !is_desktop && is_headset(system, user_agent) {
        "headset"
    } else if contains_word(described, CONSOLE) {
        "console"
    } else if contains_word(described, TV) || names_fire_tv(system) {
        "tv"
    } else if !by_system.is_empty() {
        by_system
    } else if !model.is_empty() || PHONES.iter().any(|word| user_agent.contains(word)) {
        "mobile"
    } else {
        ""
    }
}

/// Words of television sets and set-top boxes.
const TV: &[&str] = &[
    "SmartTV",
    "SMART-TV",
    "Smart-TV",
    "Smart TV",
    "SmartHub",
    "HbbTV",
    "NetCast",
    "Web0S",
    "webOS.TV",
    "GoogleTV",
    "Google TV",
    "AppleTV",
    "Apple TV",
    "CrKey",
    "Roku",
    "BRAVIA",
    "Android TV",
    "AndroidTV",
    "TV Safari",
];
const CONSOLE: &[&str] = &["PlayStation", "PLAYSTATION", "Xbox", "XBOX", "Nintendo"];
/// Words of phones, where no system is known. Facebook's app names its own fields.
const PHONES: &[&str] = &["Mobile", "MIDP", "android", "FBAN/", "UP.Browser", "(iPh"];
/// Browsers of headsets.
const HEADSET_BROWSERS: &[&str] = &["OculusBrowser/", "PicoBrowser/", "Wolvic/"];

/// The content of the first brackets, which describe the system; without any, the whole text.
fn system(user_agent: &str) -> &str {
    let Some((_, rest)) = user_agent.split_once('(') else { return user_agent };
    let mut depth = 1_usize;
    let end = rest.bytes().position(|byte| {
        depth = match byte {
            b'(' => depth + 1,
            b')' => depth - 1,
            _ => depth,
        };
        depth == 0
    });
    &rest[..end.unwrap_or(rest.len())]
}

/// Whether the text has one of the words at the start of a word.
fn contains_word(text: &str, words: &[&str]) -> bool {
    let begins = |word: &str| {
        text.match_indices(word).any(|(start, _)| {
            !text[..start].ends_with(|before: char| before.is_ascii_alphanumeric())
        })
    };
    // Most texts contain none, which `contains` finds out in a fraction of the time.
    words.iter().any(|word| text.contains(word) && begins(word))
}

/// A model of Amazon's boxes and sets: `AFT` and capital letters, with no word before it.
fn names_fire_tv(system: &str) -> bool {
    system.match_indices("AFT").any(|(start, word)| {
        let is_start = !system[..start]
            .ends_with(|before: char| before.is_ascii_alphanumeric() || before == '-');
        let rest = &system[start + word.len()..];
        let name = rest.bytes().take_while(u8::is_ascii_alphanumeric);
        let is_name = name.clone().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        is_start && is_name && rest.starts_with(|first: char| first.is_ascii_uppercase())
    })
}

/// Whether it is a headset, whose browser runs on Android or claims to run on Linux. `Quest 507` is a
/// phone.
fn is_headset(system: &str, user_agent: &str) -> bool {
    let names_model = system.split(';').any(|part| {
        let model = part.split(" Build/").next().unwrap_or_default().trim();
        let rest = model.strip_prefix("Quest").map(str::trim);
        let is_quest = rest.is_some_and(|rest| matches!(rest, "" | "2" | "3" | "3S" | "Pro"));
        is_quest
            || ["Oculus ", "Meta Quest", "Pico Neo", "Apple Vision", "Mobile VR"]
                .iter()
                .any(|start| model.starts_with(start))
    });
    names_model || HEADSET_BROWSERS.iter().any(|name| user_agent.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 {}";
    const PHONE: &str = "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36 {}";
    const PC: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 {}";

    #[test]
    fn f19_a_device_word_in_the_name_of_an_app_or_in_a_word_is_not_a_device() {
        let words = TV.iter().chain(CONSOLE).chain(&["AFTKA", "AFT"]);
        let mut tried = 0;
        for word in words {
            for (agent, os, expected) in [
                (IPHONE.replace("{}", &format!("{word}Remote/2.1")), "iOS", "mobile"),
                (format!("{word}/22.1 (iPhone; iOS 17.1; Scale/3.00)"), "iOS", "mobile"),
                (PHONE.replace("{}", &format!("{word}/7.0")), "Android", "mobile"),
                (PC.replace("{}", &format!("{word}Launcher/1")), "Windows", "desktop"),
                (PHONE.replace("Pixel 7", &format!("DR{word}-1")), "Android", "mobile"),
            ] {
                assert_eq!(form_factor(&agent, os, ""), expected, "{agent}");
                tried += 1;
            }
        }
        assert!(tried >= 50, "{tried}");
    }

    /// Agent, system and model by the rules for user agents, the kind of device.
    const DEVICES: [(&str, &str, &str, &str); 17] = [
        (
            "Mozilla/5.0 (Tablet; OpenHarmony 5.0) AppleWebKit/537.36 Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1",
            "",
            "",
            "tablet",
        ),
        (
            "Mozilla/5.0 (PC; OpenHarmony 5.0) AppleWebKit/537.36 Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1",
            "",
            "",
            "desktop",
        ),
        (
            "Mozilla/5.0 (Linux; Android 9; AFTKA) AppleWebKit/537.36 Silk/120.0 Safari/537.36",
            "Android",
            "AFTKA",
            "tv",
        ),
        (
            "Mozilla/5.0 (Linux; Android 5.1; AFTT Build/LVY48F; wv) Chrome/41.0 Mobile Safari/537.36",
            "Android",
            "AFTT",
            "tv",
        ),
        (
            "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 Chrome/94.0 Safari/537.36",
            "Linux",
            "",
            "tv",
        ),
        (
            "Mozilla/5.0 (X11; Linux armv7l) AppleWebKit/537.36 Chrome/120.0 Safari/537.36 CrKey/1.5",
            "Linux",
            "",
            "tv",
        ),
        (
            "Mozilla/5.0 (PlayStation 4 11.02) AppleWebKit/605.1.15 (KHTML, like Gecko)",
            "",
            "",
            "console",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) Chrome/120.0 Edg/120.0",
            "Windows",
            "",
            "console",
        ),
        (
            "Mozilla/5.0 (New Nintendo 3DS like iPhone) AppleWebKit/536.30 Mobile NintendoBrowser/1",
            "iOS",
            "",
            "console",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; Quest 3) OculusBrowser/33.2 Chrome/126.0 VR Safari/537.36",
            "Linux",
            "",
            "headset",
        ),
        (
            "Mozilla/5.0 (Linux; Android 12; Quest 3S) Chrome/126.0 Mobile Safari/537.36",
            "Android",
            "",
            "headset",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; Pico Neo 3 Link) PicoBrowser/3.3 Chrome/99.0 VR Safari/1",
            "Android",
            "",
            "headset",
        ),
        (
            "Mozilla/5.0 (Android 10; Mobile VR; rv:110.0) Gecko/110.0 Firefox/110.0 Wolvic/1.4",
            "Android",
            "",
            "headset",
        ),
        (
            "Mozilla/5.0 (Linux; Android 4.2.2; Quest 507 Build/JDQ39) Chrome/71.0 Mobile Safari/537.36",
            "Android",
            "",
            "mobile",
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 17_1 like Mac OS X) Version/17.1 Safari/604.1",
            "iOS",
            "iPad",
            "tablet",
        ),
        ("[FBAN/FB4A;FBAV/450.0;FBDV/SM-G991B;]", "", "", "mobile"),
        ("curl/8", "", "", ""),
    ];

    #[test]
    fn u19_the_description_of_the_system_decides_the_device() {
        for (agent, os, model, expected) in DEVICES {
            assert_eq!(form_factor(agent, os, model), expected, "{agent}");
        }
    }
}
