/// `arn:aws:execute-api:{region}:{account}:{api}/{stage}/{METHOD}/{path}`; for a WebSocket API `…/{stage}/$connect`
/// ([reference](https://docs.aws.amazon.com/apigateway/latest/developerguide/arn-format-reference.html)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodArn<'a> {
    /// Everything up to and including the stage: `arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live`.
    pub stage: &'a str,
    /// The method called.
    pub method: &'a str,
    /// The path called, from the root; empty for a WebSocket API.
    pub path: &'a str,
}

impl<'a> MethodArn<'a> {
    /// `None` if it is not the ARN of an API's method.
    pub fn parse(arn: &'a str) -> Option<Self> {
        let (api, rest) = arn.split_once('/')?;
        let (stage, rest) = rest.split_once('/')?;
        let (method, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let mut fields = api.split(':');
        let fields: [_; 7] = std::array::from_fn(|_| fields.next());
        let [Some("arn"), Some(partition), Some("execute-api"), Some(region), Some(account), Some(id), None] = fields
        else {
            return None;
        };
        let is_plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_$".contains(&byte))
        };
        // A wildcard in the event would widen the policy.
        [partition, region, account, id, stage, method].into_iter().all(is_plain).then(|| Self {
            stage: arn.split_at(api.len() + "/".len() + stage.len()).0,
            method,
            path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: &str = "arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live";

    #[test]
    fn an_arn_is_split_into_stage_method_and_path() {
        for (rest, method, path) in [
            ("GET/v1/api-keys/x", "GET", "/v1/api-keys/x"),
            ("GET/", "GET", "/"),
            ("GET", "GET", ""),
            ("$connect", "$connect", ""),
        ] {
            let arn = format!("{STAGE}/{rest}");
            assert_eq!(MethodArn::parse(&arn), Some(MethodArn { stage: STAGE, method, path }));
        }
    }

    #[test]
    fn only_a_method_arn_without_wildcards_is_accepted() {
        for arn in [
            "",
            "GET /",
            STAGE,
            "arn:aws:execute-api:us-west-1:123456789012:abc/*/GET/x",
            "arn:aws:execute-api:us-west-1:123456789012:*/live/GET/x",
            "arn:aws:execute-api:us-west-1:123456789012:abc/live/*/x",
            "arn:aws:lambda:us-west-1:123456789012:abc/live/GET/x",
            "arn:aws:execute-api:us-west-1:123456789012:abc:d/live/GET/x",
            "arn:aws:execute-api:us-west-1:123456789012/live/GET/x",
            "arn:aws:execute-api:us-west-1::abc/live/GET/x",
            "arn:aws:execute-api:us-west-1:123456789012:abc//GET/x",
        ] {
            assert_eq!(MethodArn::parse(arn), None, "{arn}");
        }
    }
}
