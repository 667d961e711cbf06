//! What is asked about a request, as a query: `url=http://shop.example.com/api&method=POST&header=x-beta:+yes`.

use std::net::IpAddr;

use super::{Explanation, Header, Typed, listener};
use crate::live::Live;

/// A question to a process that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// A method and a URL, or a URL.
    pub words: Vec<String>,
    /// Fields of the request.
    pub headers: Vec<Header>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The listener that the client comes to. Absent: the first of the document.
    pub listener: Option<String>,
}

impl Question {
    /// Reads a query. The words are judged, too.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn read(query: &str) -> Result<Self, String> {
        let (mut question, mut method) = (Self::default(), None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "method" => method = Some(value.into_owned()),
                "url" => question.words = vec![value.into_owned()],
                "header" => question.headers.push(value.parse()?),
                "client" => {
                    question.client = Some(value.parse().map_err(|_| format!("`{value}` is not an IP address"))?);
                }
                "listener" => question.listener = Some(value.into_owned()),
                other => {
                    return Err(format!("`{other}` is unknown; ask by url, method, header, client and listener"));
                }
            }
        }
        let at = question.words.len();
        question.words.extend(method);
        question.words.rotate_left(at);
        Typed::read(&question.words, &question.headers, question.client)?;
        Ok(question)
    }

    /// As a query. [`Self::read`] gives the same question.
    #[must_use]
    pub fn write(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let (method, url) = match &self.words[..] {
            [method, url] => (Some(method), Some(url)),
            [url] => (None, Some(url)),
            _ => (None, None),
        };
        query.extend_pairs(url.map(|url| ("url", url)));
        query.extend_pairs(method.map(|method| ("method", method)));
        query.extend_pairs(self.headers.iter().map(|header| ("header", header.to_string())));
        query.extend_pairs(self.client.map(|client| ("client", client.to_string())));
        query.extend_pairs(self.listener.as_ref().map(|listener| ("listener", listener)));
        query.finish()
    }

    /// What this process would do now.
    ///
    /// # Errors
    /// What is wrong with the question, in words.
    pub(crate) fn answer(&self, live: &Live) -> Result<Explanation, String> {
        let typed = Typed::read(&self.words, &self.headers, self.client)?;
        let listener = listener(&live.document, self.listener.as_deref())?;
        Ok(Explanation::live(live, listener, &typed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_back() {
        for words in [vec!["/a?b=c&d"], vec!["POST", "http://shop.example.com/%20"]] {
            let question = Question {
                words: words.into_iter().map(str::to_owned).collect(),
                headers: vec!["x-beta: yes & no".parse().unwrap(), "cookie: a=b; c".parse().unwrap()],
                client: Some("::1".parse().unwrap()),
                listener: Some("web".to_owned()),
            };
            assert_eq!(Question::read(&question.write()), Ok(question));
        }
    }

    #[test]
    fn what_is_no_question_says_why() {
        let refused = |query: &str| Question::read(query).unwrap_err();
        assert!(refused("").contains("the URL is missing"));
        assert!(refused("method=GET").contains("GET"));
        assert!(refused("url=/&shoe=44").contains("`shoe` is unknown"));
        assert!(refused("url=/&client=me").contains("not an IP address"));
        assert!(refused("url=/&header=x").contains("NAME: VALUE"));
    }
}
