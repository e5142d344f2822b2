"""Errors that cross the wire, each a problem document (RFC 9457).

ServiceError
├── Malformed          400  the request cannot be read
├── Unauthenticated    401  who asks is not known
├── Forbidden          403  the caller may see it, but not do this
├── NotFound           404  it does not exist, or the caller may not know of it
├── MethodNotAllowed   405  not with this method
├── TooSlow            408  the body did not come in time
├── Conflict           409  the state does not allow it
│   ├── IllegalTransition   with the state and what is possible
│   └── AlreadyAccepted     a team has it, perhaps the same one
├── TooLarge           413  the body is over the limit
├── UnsupportedType    415  no kind of file that is taken
├── Invalid            422  a field is wrong; ``fields`` says which
│   └── IdempotencyKeyReused  same key, another request
├── TooManyRequests    429  too often; try again after ``retry_after`` seconds
└── Unavailable        503  a dependency is away; try again after ``retry_after`` seconds
"""

from typing import Any, ClassVar

TYPE_BASE = "https://sidan.example/problems/"


class ServiceError(Exception):
    """Something that the caller is told. ``detail`` is plain Chinese: what is wrong and what to do."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "系统内部错误"

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra

    def problem(self) -> dict[str, Any]:
        return {
            "type": TYPE_BASE + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }


class Malformed(ServiceError):
    status, slug, title = 400, "malformed", "请求无法识别"


class Unauthenticated(ServiceError):
    status, slug, title = 401, "unauthenticated", "请先登录"


class Forbidden(ServiceError):
    status, slug, title = 403, "forbidden", "没有权限"


class NotFound(ServiceError):
    status, slug, title = 404, "not-found", "没有找到"


class MethodNotAllowed(ServiceError):
    status, slug, title = 405, "method-not-allowed", "这个地址不支持这种请求方法"


class TooSlow(ServiceError):
    status, slug, title = 408, "too-slow", "请求没有按时传完"


class Conflict(ServiceError):
    status, slug, title = 409, "conflict", "与当前状态冲突"


class IllegalTransition(Conflict):
    slug, title = "illegal-transition", "当前状态不能这样操作"


class AlreadyAccepted(Conflict):
    slug, title = "already-accepted", "已有队伍接单"


class TooLarge(ServiceError):
    status, slug, title = 413, "too-large", "内容过大"


class UnsupportedType(ServiceError):
    status, slug, title = 415, "unsupported-type", "不支持这种文件"


class Invalid(ServiceError):
    """``fields`` is a list of ``{"path": …, "message": …}``."""

    status, slug, title = 422, "invalid", "填写有误"


class IdempotencyKeyReused(Invalid):
    slug, title = "idempotency-key-reused", "幂等键已用于另一个请求"


class TooManyRequests(ServiceError):
    status, slug, title = 429, "too-many-requests", "请求过于频繁"


class Unavailable(ServiceError):
    status, slug, title = 503, "unavailable", "服务暂时不可用"

    def __init__(self, detail: str = "服务暂时不可用，请稍后再试", retry_after: int = 2) -> None:
        super().__init__(detail, retry_after=retry_after)


def invalid(path: str, message: str) -> Invalid:
    """One wrong field."""
    return Invalid(f"{path}：{message}", fields=[{"path": path, "message": message}])
